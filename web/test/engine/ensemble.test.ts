/**
 * How a system's files reach its models, and how the models of a device share its memory. On a GPU, what a model library
 * would compute is made up; everything is downloaded, verified, read and parsed as in a browser.
 */
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Artifacts } from "../../src/engine/artifacts";
import { NO_COUNTS } from "../../src/engine/counters";
import type { Gpu } from "../../src/engine/device";
import { Engine } from "../../src/engine/engine";
import { Ensemble } from "../../src/engine/ensemble";
import type { FiniteCheck } from "../../src/engine/finite";
import { parseLinks } from "../../src/engine/links";
import type { LoadSettings } from "../../src/engine/messages";
import type { Model } from "../../src/engine/model";
import type { Runtime } from "../../src/engine/runtime";
import { type AgentSpec, parseSystem, type System } from "../../src/engine/system";
import { loadWeights } from "../../src/engine/weights";
import { FakeCache } from "./fake-cache";
import { fakeGpu } from "./fake-gpu";
import { agentJson, linkJson, linksJson, manifestJson } from "./fixtures";
import { CONFIG, weights } from "./tiny-decoder";

const URL = "https://host.test/ring/system.json";
const { hidden_size: SIZE, vocab_size: VOCABULARY } = CONFIG;
type Bytes = Uint8Array<ArrayBuffer>;

/** What models and their runtimes did, in order. */
const log: string[] = [];

/** A runtime that keeps nothing. */
function fakeRuntime(name: string): Runtime {
  const runtime: Partial<Record<keyof Runtime, unknown>> = {
    scoped: <T>(work: () => T): T => work(),
    keep: <T>(object: T): T => object,
    free: () => {},
    upload: () => ({}),
    pack: () => ({}),
    sync: async () => {},
    releaseScratch: () => log.push(`${name} frees its scratch`),
    dispose: () => log.push(`${name} goes`),
  };
  return runtime as unknown as Runtime;
}

vi.mock("../../src/engine/model", () => ({
  packLink: () => ({}),
  loadModel: async (_gpu: Gpu, artifacts: Artifacts, spec: AgentSpec): Promise<Model> => {
    const runtime = fakeRuntime(spec.path);
    log.push(`${spec.path} comes`);
    await artifacts.readModule(spec.modelLib);
    const params = [...weights()].map(([name, { shape }]) => ({ name, shape, dtype: "float32" }));
    await loadWeights(runtime, artifacts, spec, params, () => {});
    return { runtime } as unknown as Model;
  },
}));

const text = (content: unknown): Bytes =>
  Uint8Array.from(Buffer.from(typeof content === "string" ? content : JSON.stringify(content)));

/** Weights in one shard of more than a megabyte, with their index. */
function shardOf(filler: number): { index: Bytes; shard: Bytes } {
  const shard = new Uint8Array(1_500_000).fill(filler);
  let byteOffset = 0;
  const records = [...weights()].map(([name, { shape, data }]) => {
    const record = { name, shape, dtype: "float32", format: "raw", nbytes: data.byteLength, byteOffset };
    shard.set(new Uint8Array(data.buffer), byteOffset);
    byteOffset += data.byteLength;
    return record;
  });
  const only = {
    dataPath: "params_shard_0.bin",
    format: "raw-shard",
    nbytes: shard.byteLength,
    records,
  };
  return { index: text({ metadata: { filler }, records: [only] }), shard };
}

/** Two agents of one checkpoint and one of another, whose tokenizer is the same. Large files are of over a megabyte. */
function served(): { system: System; files: ReadonlyMap<string, Bytes> } {
  const ids = ["reader", "solver", "guide"];
  const edges = [
    { id: "reader->solver", from: "reader", to: "solver" },
    { id: "solver->guide", from: "solver", to: "guide" },
  ];
  const agents = ids.map((id) => {
    const path = id === "guide" ? "guide/" : "pair/";
    const incoming = edges.filter(({ to }) => to === id).map((edge) => edge.id);
    const own = { path, model_lib: `${path}model-q0f32-webgpu.wasm`, vocab_size: VOCABULARY };
    return { ...agentJson(id, SIZE, incoming), ...own };
  });
  const link = (outer: boolean) => linkJson(SIZE, SIZE, outer);
  const links = linksJson({
    inner: Object.fromEntries(ids.map((id) => [id, link(false)])),
    outer: Object.fromEntries(edges.map(({ id }) => [id, link(true)])),
  });
  const tokenizer = JSON.stringify({ model: { type: "BPE", vocab: { a: 0 }, merges: [] } });
  const files = new Map<string, Bytes>([["recursivelink.json", text(links)]]);
  for (const [number, path] of ["pair/", "guide/"].entries()) {
    const { index, shard } = shardOf(number + 1);
    files.set(`${path}tensor-cache.json`, index);
    files.set(`${path}params_shard_0.bin`, shard);
    files.set(`${path}tokenizer.json`, text(tokenizer.padEnd(1_200_000)));
    files.set(`${path}mlc-chat-config.json`, text({ model_config: CONFIG, number }));
    // A section that means nothing makes one module differ from the other.
    files.set(
      `${path}model-q0f32-webgpu.wasm`,
      Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 0, 2, 1, 97 + number),
    );
  }
  const listed = [...files].map(([path, content]) => ({
    path,
    size_bytes: content.byteLength,
    sha256: hex(content),
  }));
  const manifest = manifestJson({ agents, edges, files: listed });
  return { system: parseSystem(JSON.stringify(manifest), "system.json"), files };
}

function hex(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

const { system, files } = served();
const fetchFile = async (url: string | globalThis.URL | Request): Promise<Response> =>
  new Response(files.get(String(url).slice("https://host.test/ring/".length)));

beforeEach(() => {
  log.length = 0;
  vi.stubGlobal("GPUBufferUsage", { STORAGE: 128, COPY_DST: 8, UNIFORM: 64 });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe.each([
  ["webgpu", ".wasm"],
  ["processor", "mlc-chat-config.json"],
] as const)("a visit with %s", (runtime, model) => {
  const needed = [...files].filter(
    ([path]) => path.endsWith(model) || !/wasm$|mlc-chat-config\.json$/.test(path),
  );
  const contents = [...new Set(needed.map(([, content]) => hex(content)))].sort();

  /** Loads the system. @returns what was hashed, and how often a file was requested from the server. */
  async function visit(cache: FakeCache | undefined, settings: LoadSettings = {}) {
    const fetch = vi.fn(fetchFile);
    vi.stubGlobal("fetch", fetch);
    vi.stubGlobal("caches", { open: async () => cache });
    vi.stubGlobal("navigator", { gpu: fakeGpu({}).gpu });
    const digest = vi.spyOn(crypto.subtle, "digest");
    const load = { system, runtime, cache: cache !== undefined, ...settings };
    const engine = await Engine.load(URL, load, undefined, () => {});
    const hashed = digest.mock.calls.map(([, content]) => hex(content as Uint8Array));
    digest.mockRestore();
    expect([...engine.agents.keys()]).toEqual(["reader", "solver", "guide"]);
    engine.dispose();
    return { hashed: hashed.sort(), requests: fetch.mock.calls.length };
  }

  test("requests and hashes every file once, and the next one hashes every file once", async () => {
    const cache = new FakeCache();
    const match = vi.spyOn(cache, "match");
    expect(await visit(cache)).toEqual({ hashed: contents, requests: contents.length });
    // Once to see whether a file is there, once for a part of it; no file comes back from the cache.
    expect(match).toHaveBeenCalledTimes(2 * contents.length);
    expect(await visit(cache)).toEqual({ hashed: contents, requests: 0 });
  });

  test("hashes every file once if the browser keeps nothing", async () => {
    expect(await visit(undefined)).toEqual({ hashed: contents, requests: contents.length });
  });

  test("hashes every file of an opened folder once", async () => {
    const opened = new Map([...files].map(([path, content]) => [path, new Blob([content])]));
    expect(await visit(undefined, { files: opened })).toEqual({ hashed: contents, requests: 0 });
  });
});

describe("models on one device", () => {
  /** @param liveBytes - of the device. */
  async function ensemble(liveBytes: number, resident = true): Promise<Ensemble> {
    const gpu = { counters: { snapshot: () => ({ ...NO_COUNTS, liveBytes }) } } as Gpu;
    const sources = { fetch: fetchFile, cache: undefined };
    const artifacts = new Artifacts(URL, system.files, sources, undefined);
    const links = parseLinks(await artifacts.readText(system.links), system.agents, system.edges);
    const check = {} as FiniteCheck;
    const made = new Ensemble(gpu, artifacts, system, links, check, resident, system.agents);
    if (resident) await made.loadAll(() => {});
    log.length = 0;
    return made;
  }

  async function turns(made: Ensemble, ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      expect((await made.enter(id, () => {})).spec.id).toBe(id);
      log.push(id);
    }
  }

  const ORDER = ["reader", "solver", "guide", "guide", "reader"];

  test("share the memory of their calls above 2 GiB: it is freed when another model takes its turn", async () => {
    await turns(await ensemble(2 ** 31 + 1), ORDER);
    expect(log).toEqual([
      "reader",
      "solver",
      "pair/ frees its scratch",
      "guide",
      "guide",
      "guide/ frees its scratch",
      "reader",
    ]);
  });

  test("keep the memory of their calls up to 2 GiB", async () => {
    await turns(await ensemble(2 ** 31), ORDER);
    expect(log).toEqual(ORDER);
  });

  test("come and go one after another if they are not resident, and their tokenizers stay", async () => {
    const made = await ensemble(2 ** 31 + 1, false);
    await turns(made, ["reader", "solver"]);
    const { tokenizer } = await made.enter("reader", () => {});
    expect(log).toEqual(["pair/ comes", "reader", "solver"]);
    log.length = 0;
    await turns(made, ["guide", "solver"]);
    expect(log).toEqual(["pair/ goes", "guide/ comes", "guide", "guide/ goes", "pair/ comes", "solver"]);
    expect((await made.enter("solver", () => {})).tokenizer).toBe(tokenizer);
  });
});
