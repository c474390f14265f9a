import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EngineError, type LoadOptions, type SystemHandle } from "../../src/engine/api";
import type { Backend } from "../../src/ui/state/backend";
import { Session } from "../../src/ui/state/session";
import { fakeBackend } from "./fake-engine";

/** A promise that the test settles. */
function later<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** Lets everything that waits for nothing but promises go on. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** A session whose loads wait for the test, with what was asked of the engine. */
function controlled() {
  const fake = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
  const loads: { options: LoadOptions; finish: () => void }[] = [];
  const held = { handles: 0 };
  const disposing: { wait: Promise<void> } = { wait: Promise.resolve() };
  const reads: string[] = [];
  const backend: Backend = {
    ...fake,
    readSystem: async (url) => {
      reads.push(String(url));
      return { ...(await fake.readSystem(url)) };
    },
    loadSystem: async (url, options = {}) => {
      const { promise, resolve } = later();
      loads.push({ options, finish: resolve });
      await promise;
      const real = await fake.loadSystem(url);
      held.handles += 1;
      const dispose: SystemHandle["dispose"] = async () => {
        await disposing.wait;
        held.handles -= 1;
        return real.counters();
      };
      return Object.assign(Object.create(real), { dispose }) as SystemHandle;
    },
  };
  const remembered = { has: () => false, add: () => {}, clear: () => {} };
  const session = new Session(backend, remembered);
  const files = new Map([["system.json", new Blob()]]);
  const open = async (name: string): Promise<void> =>
    session.open(session.addFolder({ name, manifest: "system.json", files }));
  return { session, loads, held, disposing, open, reads };
}

const links = { name: "other.json", text: "other" };

describe("links chosen", () => {
  test("while agents load are the ones that are loaded", async () => {
    const { session, loads, held, open } = controlled();
    await open("a");
    const first = session.load();
    await settle();
    const second = session.useLinks(links);
    await settle();
    expect(loads.map(({ options }) => options.links)).toEqual([undefined, "other"]);
    for (const { finish } of loads) finish();
    await Promise.all([first, second]);
    expect(session.phase.value).toBe("ready");
    expect(held.handles).toBe(1);
  });

  test("before agents are loaded wait for them, and before a system is open are refused", async () => {
    const { session, loads, open } = controlled();
    await expect(session.useLinks(links)).rejects.toThrow(/none is open/);
    await open("a");
    await session.useLinks(links);
    expect(loads).toEqual([]);
    expect(session.links.value).toBe(links);
  });
});

describe("loading", () => {
  test("asked for twice while the old agents go away happens once", async () => {
    const { session, loads, held, disposing, open } = controlled();
    await open("a");
    const first = session.load();
    await settle();
    loads[0]?.finish();
    await first;
    const slow = later();
    disposing.wait = slow.promise;
    const again = [session.load(), session.load()];
    await settle();
    slow.resolve();
    await settle();
    for (const { finish } of loads) finish();
    await Promise.all(again);
    expect(loads.length).toBe(2);
    expect(held.handles).toBe(1);
  });

  test("that was cancelled reports nothing more", async () => {
    const { session, loads, held, open } = controlled();
    await open("a");
    const cancelled = session.load();
    await settle();
    session.cancelLoading();
    const before = session.loading.value;
    const progress = {
      phase: "compile",
      label: "x",
      fraction: 0.5,
      loadedBytes: 0,
      totalBytes: 0,
      cachedBytes: 0,
    };
    loads[0]?.options.onProgress?.(progress as never);
    expect(session.loading.value).toBe(before);
    loads[0]?.finish();
    await cancelled;
    expect([session.phase.value, held.handles]).toEqual(["unloaded", 0]);
  });
});

describe("the build that loads", () => {
  test("is the one that the page shows, and trying again reads the server's", async () => {
    const { session, loads, open, reads } = controlled();
    await open("a");
    const shown = session.system.value;
    const first = session.load();
    await settle();
    expect(loads[0]?.options.system).toBe(shown);
    session.cancelLoading();
    loads[0]?.finish();
    await first;
    session.fail(new EngineError("corrupt-file", "another build's"));
    const again = session.tryAgain();
    await vi.waitFor(() => expect(loads).toHaveLength(2));
    expect(reads).toHaveLength(2);
    expect(session.system.value).not.toBe(shown);
    expect(loads[1]?.options.system).toBe(session.system.value);
    loads[1]?.finish();
    await again;
    expect(session.phase.value).toBe("ready");
  });
});

describe("?system=", () => {
  /** A session beside a list of two systems; the server has nothing else. */
  function listed() {
    const fake = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
    const read: string[] = [];
    const backend: Backend = {
      ...fake,
      readSystem: async (url) => {
        read.push(String(url));
        if (String(url).startsWith("https://fake.invalid/")) return fake.readSystem(url);
        const missing = new Response(null, { status: 404 });
        throw new EngineError("download", `${url}: the server answered 404`, missing);
      },
    };
    const session = new Session(backend, { has: () => false, add: () => {}, clear: () => {} });
    return { session, read };
  }

  beforeAll(() => vi.stubGlobal("document", { baseURI: "https://page.invalid/" }));
  afterAll(() => vi.unstubAllGlobals());

  test("a name of the list opens that system", async () => {
    const { session, read } = listed();
    await session.open("hop-mixture");
    expect(session.phase.value).toBe("unloaded");
    expect(read).toEqual(["https://fake.invalid/b/system.json"]);
  });

  test.each(["hop", "https://elsewhere.invalid/hop/system.json"])(
    "%s is not there, and the names that are",
    async (asked) => {
      const { session } = listed();
      await session.open(asked);
      expect(session.phase.value).toBe("failed");
      expect(session.problem.value).toMatchObject({
        title: "There is no such system",
        advice: `The page looked for “${asked}” and found nothing. The list beside this page has hop-sequential, hop-mixture, split-facts. Choose one of them, or enter the address of another system.json.`,
      });
      await session.open("");
      expect([session.phase.value, session.problem.value]).toEqual(["unloaded", undefined]);
    },
  );
});

test("the system that was opened last stays, however long the old agents take to go", async () => {
  const { session, loads, disposing, open } = controlled();
  await open("a");
  const loading = session.load();
  await settle();
  loads[0]?.finish();
  await loading;
  const slow = later();
  disposing.wait = slow.promise;
  const b = open("b");
  await open("c");
  expect(session.phase.value).toBe("unloaded");
  const links = { name: "l", text: "l" };
  await session.useLinks(links);
  slow.resolve();
  await b;
  expect([session.phase.value, session.links.value]).toEqual(["unloaded", links]);
});
