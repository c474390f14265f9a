import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";

const SOURCE = readFileSync(new URL("../../public/sw.js", import.meta.url), "utf8");
const SCOPE = "https://host.test/app/";

/** The service worker, with a network and a cache that the test decides. */
class Site {
  readonly kept = new Map<string, string>();
  readonly network = new Map<string, string>();
  online = true;
  full = false;
  /** Whether everything comes as HTML. */
  html = false;
  /** What is odd about the network's answers. */
  answered: { type?: ResponseType; redirected?: boolean } = {};
  #answer: (event: unknown) => void = () => {};

  constructor() {
    const cache = {
      match: async (key: string | Request, options?: { ignoreSearch?: boolean }) => {
        const url = typeof key === "string" ? key : key.url;
        const plain = (each: string): string => (options?.ignoreSearch ? (each.split("?")[0] ?? "") : each);
        const found = [...this.kept].find(([each]) => plain(each) === plain(url));
        return found && new Response(found[1]);
      },
      put: async (url: string, response: Response) => {
        const text = await response.text();
        if (this.full) throw new DOMException("no room", "QuotaExceededError");
        this.kept.set(url, text);
      },
      keys: async () => [...this.kept.keys()].map((url) => ({ url })),
      delete: async (url: string) => this.kept.delete(url),
    };
    const open = async () => {
      if (this.full) throw new DOMException("no room", "QuotaExceededError");
      return cache;
    };
    const fetch = async ({ url }: Request): Promise<Response> => {
      if (!this.online) throw new TypeError("Failed to fetch");
      const key = url.split("?")[0] ?? "";
      const text = this.network.get(key);
      const type = this.html || key.endsWith("/") ? "text/html; charset=utf-8" : "text/javascript";
      const response = new Response(text ?? null, {
        status: text === undefined ? 404 : 200,
        headers: { "Content-Type": type },
      });
      const facts = { type: "basic", redirected: false, ...this.answered };
      const properties = Object.entries(facts).map(([name, value]) => [name, { value }]);
      return Object.defineProperties(response, Object.fromEntries(properties));
    };
    const self = {
      location: new URL("sw.js", SCOPE),
      registration: { scope: SCOPE },
      addEventListener: (kind: string, listener: (event: unknown) => void) => {
        if (kind === "fetch") this.#answer = listener;
      },
    };
    runInNewContext(SOURCE, { self, caches: { open }, fetch, URL });
  }

  /** The worker's answer, after it has filled its cache. */
  async get(path: string, mode = "cors"): Promise<string> {
    let answer: Promise<Response> | undefined;
    const keeping: Promise<unknown>[] = [];
    const request = { url: new URL(path, SCOPE).href, method: "GET", cache: "default", mode };
    this.#answer({
      request,
      respondWith: (response: Promise<Response>) => {
        answer = response;
      },
      waitUntil: (work: Promise<unknown>) => keeping.push(work),
    });
    const text = await (await answer)?.text();
    await Promise.all(keeping);
    return text ?? "";
  }

  visit = (query = ""): Promise<string> => this.get(query || ".", "navigate");

  publish(page: string, asset: string): void {
    this.network.clear();
    this.network.set(SCOPE, page);
    this.network.set(`${SCOPE}assets/${asset}`, asset);
    this.network.set(`${SCOPE}systems/index.json`, "list");
  }
}

test("the service worker keeps the page once, whatever its query, and shows it without a network", async () => {
  const site = new Site();
  site.publish("page", "a.js");
  // The page does this on a first visit.
  site.kept.set(`${SCOPE}?r=1`, "page");
  site.online = false;
  expect(await site.visit("?r=2")).toBe("page");
  site.online = true;
  for (const query of ["?r=2", "?r=3", ""]) await site.visit(query);
  expect([...site.kept.keys()]).toEqual([SCOPE]);
  site.online = false;
  expect(await site.visit("?r=4")).toBe("page");
  await expect(site.get("assets/a.js")).rejects.toThrow("Failed to fetch");
});

test("the service worker drops an old page's scripts when there is a new page", async () => {
  const site = new Site();
  const visit = async (asset: string): Promise<void> => {
    await site.visit();
    await site.get(`assets/${asset}`);
    await site.get("systems/index.json");
  };
  site.publish("old", "a.js");
  await visit("a.js");
  await visit("a.js");
  expect(site.kept.size).toBe(3);
  site.publish("new", "b.js");
  await visit("b.js");
  expect(site.kept.get(SCOPE)).toBe("new");
  expect([...site.kept.keys()].sort()).toEqual([SCOPE, `${SCOPE}assets/b.js`, `${SCOPE}systems/index.json`]);
});

test("the service worker gives the network's answer when nothing can be kept", async () => {
  const site = new Site();
  site.publish("page", "a.js");
  site.full = true;
  expect(await site.visit()).toBe("page");
  expect(await site.get("assets/a.js")).toBe("a.js");
  site.online = false;
  await expect(site.visit()).rejects.toThrow("Failed to fetch");
});

test.each([
  ["redirects to itself", { redirected: true }, false],
  ["answers from another server", { type: "cors" as const }, false],
  ["answers with HTML in a script's place", {}, true],
])("the service worker keeps nothing of a Wi-Fi login that %s", async (_, answered, html) => {
  const site = new Site();
  site.publish("page", "a.js");
  await site.visit();
  await site.get("assets/a.js");
  const before = [...site.kept];
  site.publish("please log in", "a.js");
  site.network.set(`${SCOPE}assets/a.js`, "please log in");
  Object.assign(site, { answered, html });
  // Without a redirect, only the script's type gives the login away.
  if (!html) expect(await site.visit()).toBe("please log in");
  expect(await site.get("assets/a.js")).toBe("please log in");
  expect([...site.kept]).toEqual(before);
});
