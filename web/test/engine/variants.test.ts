import { describe, expect, test } from "vitest";
import { chooseVariant, type Offer, variantFor } from "../../src/engine/variants";
import { failure } from "./errors";
import { fakeGpu } from "./fake-gpu";
import { manifestJson, system } from "./fixtures";

type Json = Record<string, unknown>;

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

const offer = (features: string[], maxBufferSize = 1000): Offer =>
  ({ features: new Set(features), limits: { maxBufferSize } }) as unknown as Offer;

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
