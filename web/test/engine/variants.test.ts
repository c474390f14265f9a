import { afterEach, describe, expect, test, vi } from "vitest";
import { GPU_MS } from "../../src/engine/patience";
import type { System } from "../../src/engine/system";
import { chooseVariant, type Offer, variantFor } from "../../src/engine/variants";
import { failure } from "./errors";
import { fakeGpu } from "./fake-gpu";
import { manifestJson, system } from "./fixtures";

type Json = Record<string, unknown>;

afterEach(() => {
  vi.useRealTimers();
});

/** The ring in float32, with a variant in float16. */
function both(changes: Json = {}): Json {
  const own = manifestJson() as { agents: Json[]; files: Json[] };
  const half = (text: unknown): string => String(text).replace(/\b([abc])\//, "$1-half/");
  const agents = own.agents.map((agent) => ({
    ...agent,
    path: half(agent.path),
    model_lib: half(agent.model_lib),
    quantization: "q0f16",
    dtype: "float16",
  }));
  const files = own.files
    .filter((file) => String(file.path).includes("/"))
    .map((file) => ({ ...file, path: half(file.path) }));
  const variant = {
    quantization: "q0f16",
    agents,
    required_features: ["shader-f16"],
    required_limits: { maxBufferSize: 500 },
    memory_bytes: 1500,
    ...changes,
  };
  return { variants: [variant], files: [...own.files, ...files] };
}

const offer = (features: string[], maxBufferSize = 1000, subgroupSize = 0): Offer =>
  ({ features: new Set(features), limits: { maxBufferSize }, subgroupSize }) as unknown as Offer;

describe("choosing a variant", () => {
  const made = system(both());

  test("takes the first that the GPU can run, with its files and nobody else's", () => {
    const chosen = chooseVariant(made, offer(["shader-f16"]));
    expect(chosen.agents.map((agent) => agent.dtype)).toEqual(["float16", "float16", "float16"]);
    expect(chosen).toMatchObject({ memoryBytes: 1500, requiredFeatures: ["shader-f16"], variants: [] });
    expect(chosen.files.map((file) => file.path).filter((path) => /^[abc]\//.test(path))).toEqual([]);
    expect(chosen.files).toHaveLength(13);
  });

  test.each([
    ["a feature is missing", offer([])],
    ["a limit is too small", offer(["shader-f16"], 499)],
    ["there is no adapter", undefined],
  ])("takes the system's own agents when %s", (_, given) => {
    const chosen = chooseVariant(made, given);
    expect(chosen.agents).toEqual(made.agents);
    expect(chosen.files.map((file) => file.path)).toEqual(system().files.map((file) => file.path));
  });

  test("asks the browser only when there is a choice", async () => {
    expect(await variantFor(system(), undefined)).toEqual(system());
    const { gpu } = fakeGpu({ features: ["shader-f16"] });
    expect((await variantFor(made, gpu)).agents[0]?.dtype).toBe("float16");
  });

  test("is refused when a variant has other agents", async () => {
    const agents = (both().variants as { agents: Json[] }[])[0]?.agents.slice(1);
    expect(await failure(() => system(both({ agents })))).toMatch(/variant q0f16 has other agents/);
  });

  test("is refused when a variant's files are not listed", async () => {
    const { files } = manifestJson() as { files: Json[] };
    expect(await failure(() => system({ ...both(), files }))).toMatch(/'files' does not list a-half/);
  });
});

/** A manifest whose agents have a second library each. */
function withSubgroups(manifest: Json): Json {
  const { agents, files, variants = [], ...rest } = manifest as Record<string, Json[]>;
  const add = (each: Json): Json => ({
    ...each,
    subgroup_lib: { model_lib: `${each.path}second.wasm`, subgroup_size: 32 },
  });
  const made = {
    agents: agents?.map(add),
    variants: variants.map((each) => ({ ...each, agents: (each.agents as Json[]).map(add) })),
  };
  const folders = new Set(
    files?.map(({ path }) => String(path).split("/")).flatMap(([name, file]) => (file ? [name] : [])),
  );
  const second = [...folders].map((folder) => ({ ...files?.[0], path: `${folder}/second.wasm` }));
  return { ...rest, ...made, files: [...(files ?? []), ...second] };
}

describe("choosing a library", () => {
  const made = system(withSubgroups(manifestJson()));
  const paths = (of: { files: readonly { path: string }[] }): string[] => of.files.map(({ path }) => path);

  test("takes the one with subgroups if the GPU's are large enough, and leaves the other out", () => {
    const chosen = chooseVariant(made, offer([], 1000, 32));
    expect(chosen.agents.map(({ modelLib }) => modelLib)).toEqual([
      "a/second.wasm",
      "b/second.wasm",
      "c/second.wasm",
    ]);
    expect(chosen.requiredFeatures).toEqual(["subgroups"]);
    expect(paths(chosen)).toEqual(paths(made).filter((path) => !path.endsWith("-webgpu.wasm")));
  });

  test.each([
    ["its subgroups are too small", offer(["subgroups"], 1000, 16)],
    ["it has none", offer([])],
    ["there is no adapter", undefined],
  ])("takes the other if %s", (_, given) => {
    const chosen = chooseVariant(made, given);
    expect(chosen.agents).toEqual(system().agents);
    expect(chosen.requiredFeatures).toEqual([]);
    expect(paths(chosen)).toEqual(paths(system()));
  });

  test("comes after the choice of weights", () => {
    const chosen = chooseVariant(
      system(withSubgroups(manifestJson(both()))),
      offer(["shader-f16"], 1000, 64),
    );
    expect(chosen.agents[0]).toMatchObject({
      dtype: "float16",
      modelLib: "a-half/second.wasm",
      subgroupLib: null,
    });
    expect(chosen.requiredFeatures).toEqual(["shader-f16", "subgroups"]);
    expect(paths(chosen).filter((path) => path.endsWith(".wasm"))).toEqual(
      ["a", "b", "c"].map((name) => `${name}-half/second.wasm`),
    );
  });

  test("takes no subgroups from a GPU that does not show in time how its threads lie", async () => {
    const { gpu, requests } = fakeGpu({ features: ["subgroups"], subgroupMinSize: 32 });
    vi.useFakeTimers();
    let chosen: System | undefined;
    void variantFor(made, gpu).then((found) => {
      chosen = found;
    });
    await vi.advanceTimersByTimeAsync(GPU_MS - 1);
    expect(requests).toEqual([{ requiredFeatures: ["subgroups"] }]);
    expect(chosen).toBeUndefined(); // it still waits for the answer
    await vi.advanceTimersByTimeAsync(1);
    expect(chosen?.agents).toEqual(system().agents);
  });

  test("is refused when a second library is not listed", async () => {
    const { files } = manifestJson();
    expect(await failure(() => system({ ...withSubgroups(manifestJson()), files }))).toMatch(
      /'files' does not list a\/second.wasm/,
    );
  });
});
