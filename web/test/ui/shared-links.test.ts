import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { EngineError, type fetchAtMost, type System } from "../../src/engine/api";
import { fetchAtMost as fetchFor } from "../../src/engine/download";
import { parseFile } from "../../src/formats/format";
import type { SharedLinks } from "../../src/formats/generated/types";
import { SHARED_LINKS } from "../../src/formats/generated/validators";
import {
  fileUrl,
  knowsWeights,
  LISTING_URL,
  misfits,
  parseListing,
  recordUrl,
} from "../../src/ui/model/shared-links";
import type { Session } from "../../src/ui/state/session";
import { Shared } from "../../src/ui/state/shared";
import { linksJson, system } from "../engine/fixtures";

const SHA = "0123456789".repeat(4);
const REPOSITORY = { id: "somebody/links", revision: SHA };
const here = system();
const text = JSON.stringify(linksJson());
const digest = (content: string): string => createHash("sha256").update(content).digest("hex");

/** A record of the fixtures' links, which fit the fixtures' system. */
function recordJson(change: Record<string, unknown> = {}): string {
  const links = linksJson() as { variant: string };
  return JSON.stringify({
    format: "recursivemas.shared-links",
    version: 1,
    system: "ring",
    description: "What it does.",
    license: "apache-2.0",
    pattern: "sequential",
    variant: links.variant,
    agents: here.agents.map(({ id, hiddenSize }) => ({
      id,
      role: id,
      model: "owner/base",
      architecture: "llama",
      hidden_size: hiddenSize,
      weights_sha256: "a".repeat(64),
    })),
    edges: here.edges.map(({ id, from, to, feedback }) => ({ id, from, to, feedback })),
    links: { path: "recursivelink.json", size_bytes: Buffer.byteLength(text), sha256: digest(text) },
    trained: { data: "generator:hop", rounds: 3, latent_steps: 2, seed: 0, device: "cpu" },
    ...change,
  });
}

const record = (change: Record<string, unknown> = {}): SharedLinks =>
  parseFile(recordJson(change), "x", SHARED_LINKS);
const agentsWith = (change: Record<string, unknown>): unknown => {
  const { agents } = JSON.parse(recordJson()) as { agents: Record<string, unknown>[] };
  return agents.map((agent, index) => (index === 0 ? { ...agent, ...change } : agent));
};
const knowing = (first: Record<string, unknown>): System => ({
  ...here,
  provenance: {
    checkpoints: Object.fromEntries(
      here.agents.map(({ id }, index) => [
        id,
        { weights_sha256: "a".repeat(64), ...(index === 0 ? first : {}) },
      ]),
    ),
  },
});

describe("shared links", () => {
  test("fit when agents, sizes, weights and edges are the same", () => {
    expect(misfits(record(), here)).toEqual([]);
    expect(knowsWeights(here)).toBe(false);
    expect(misfits(record(), knowing({}))).toEqual([]);
    expect(knowsWeights(knowing({}))).toBe(true);
  });

  test("do not fit other agents, sizes, weights, adapters or edges, and say why", () => {
    const [first] = here.agents;
    const name = first?.id ?? "";
    const adapter = { name: "owner/adapter", sha256: "c".repeat(64) };
    const cases: [SharedLinks, System, string][] = [
      [
        record({ agents: agentsWith({ id: "stranger" }), edges: [] }),
        here,
        "They connect the agents stranger",
      ],
      [record({ agents: agentsWith({ hidden_size: 7 }) }), here, `hidden size 7 of the ${name}`],
      [
        record(),
        knowing({ weights_sha256: "b".repeat(64) }),
        `another checkpoint of the ${name} (owner/base)`,
      ],
      [record({ agents: agentsWith({ adapter }) }), knowing({}), "with the adapter owner/adapter"],
      [record(), knowing({ adapter: { sha256: "d".repeat(64) } }), `the ${name} without an adapter`],
      [record({ edges: [] }), here, "They have no link from"],
      [record(), { ...here, edges: here.edges.slice(1) }, "which this system lacks"],
      [
        record({ links: { path: "x.json", size_bytes: 600e6, sha256: "a".repeat(64) } }),
        here,
        "more than a browser can read",
      ],
    ];
    for (const [links, to, words] of cases) expect(misfits(links, to).join(" ")).toContain(words);
  });

  test("are listed by commit, and entries of another form are left out", () => {
    const listing = [
      { id: REPOSITORY.id, sha: SHA },
      { id: "../x", sha: SHA },
      { id: "a/b", sha: "main" },
      3,
    ];
    expect(parseListing(JSON.stringify(listing))).toEqual([REPOSITORY]);
    expect(() => parseListing("<html>")).toThrow("not a list of repositories");
    expect(recordUrl(REPOSITORY)).toBe(
      `https://huggingface.co/somebody/links/resolve/${SHA}/shared-links.json`,
    );
  });

  test("are read no further than allowed", async () => {
    let asked = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        asked++;
        controller.enqueue(new Uint8Array(100));
      },
    });
    const serve = async () => new Response(endless);
    await expect(fetchFor("https://host.test/x", 1000, undefined, () => {}, serve)).rejects.toThrow(
      "is longer than 1000 bytes",
    );
    expect(asked).toBeLessThan(20);
  });
});

/** A Hub with some files, and a session that notes which links are used. */
function visit(files: Record<string, string>, open: System | undefined = here) {
  const used: { name: string; text: string }[] = [];
  const asked: string[] = [];
  const session = {
    system: { value: open },
    busy: { value: false },
    useLinks: async (links: { name: string; text: string }) => {
      used.push(links);
    },
  } as unknown as Session;
  const fetchFile: typeof fetchAtMost = async (url, mostBytes) => {
    asked.push(url);
    const file = files[url];
    if (file === undefined) throw new EngineError("download", `${url}: the server answered 404`);
    if (Buffer.byteLength(file) > mostBytes) throw new EngineError("download", `${url}: is longer`);
    return new TextEncoder().encode(file);
  };
  return { shared: new Shared(session, fetchFile), used, asked };
}

const LINKS_URL = fileUrl(REPOSITORY, "recursivelink.json");
const hub = (change: Record<string, string> = {}): Record<string, string> => ({
  [LISTING_URL]: JSON.stringify([
    { id: REPOSITORY.id, sha: SHA },
    { id: "somebody/broken", sha: SHA },
  ]),
  [recordUrl(REPOSITORY)]: recordJson(),
  [LINKS_URL]: text,
  ...change,
});

describe("looking for shared links", () => {
  test("asks nobody before the visitor does, then reads every record and opens what fits", async () => {
    const { shared, used, asked } = visit(hub());
    expect(asked).toEqual([]);
    await shared.look();
    expect(shared.problem.value).toBeUndefined();
    const [fits, broken] = shared.found.value ?? [];
    expect(fits?.record?.system).toBe("ring");
    expect(broken?.problem).toContain("404");
    expect(asked).not.toContain(LINKS_URL);
    if (fits) await shared.open(fits);
    expect(shared.problem.value).toBeUndefined();
    expect(used).toEqual([{ name: "somebody/links at 0123456", text }]);
    expect(shared.opening.value).toBeUndefined();
  });

  test.each([
    ["other bytes of the same length", text.replace("e", "f"), "its sha256 is"],
    ["fewer bytes", text.slice(1), "its record says"],
    ["more bytes", `${text} `, "is longer"],
  ])("uses no links that are not what their record says: %s", async (_, sent, words) => {
    const { shared, used } = visit(hub({ [LINKS_URL]: sent }));
    await shared.look();
    const [found] = shared.found.value ?? [];
    if (found) await shared.open(found);
    expect(shared.problem.value).toContain(words);
    expect(used).toEqual([]);
  });

  test("uses no links that the engine refuses, whatever their record says", async () => {
    const broken = text.replace('"shape":[', '"shape":[1,');
    const links = {
      path: "recursivelink.json",
      size_bytes: Buffer.byteLength(broken),
      sha256: digest(broken),
    };
    const { shared, used } = visit(
      hub({ [LINKS_URL]: broken, [recordUrl(REPOSITORY)]: recordJson({ links }) }),
    );
    await shared.look();
    const [found] = shared.found.value ?? [];
    if (found) await shared.open(found);
    expect(shared.problem.value).toContain("must have shape");
    expect(used).toEqual([]);
  });

  test("says when the Hub answers something else", async () => {
    const { shared } = visit(hub({ [LISTING_URL]: "<html>" }));
    await shared.look();
    expect(shared.problem.value).toContain("not a list of repositories");
    expect(shared.found.value).toBeUndefined();
    expect(shared.looking.value).toBeUndefined();
  });
});
