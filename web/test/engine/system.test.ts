import { describe, expect, test } from "vitest";
import { memoryOf, parseSystem } from "../../src/engine/system";
import { failure, says } from "./errors";
import { agentJson, manifestJson, system } from "./fixtures";

const parse = (data: unknown) => () => parseSystem(JSON.stringify(data), "here/system.json");

describe("system.json", () => {
  test("is read with camelCase keys and its defaults filled in", () => {
    const { agents, edges, decoding, latentSteps, provenance, requiredLimits } = system();
    expect(latentSteps).toBe(3);
    expect(agents[0]).toMatchObject({
      hiddenSize: 8,
      modelLib: "a/a-q0f32-webgpu.wasm",
      firstRoundPrompt: null,
      tools: [],
    });
    expect(edges.map((edge) => edge.feedback)).toEqual([false, false, true]);
    expect(decoding).toEqual({
      maxNewTokens: 4,
      temperature: 0,
      topP: 1,
      topK: 0,
      repetitionPenalty: null,
      seed: 0,
      thinkBeforeAnswer: false,
      answerPrefix: "=",
      textTokens: null,
      stopStrings: [],
      answerRetry: null,
      maxToolCalls: null,
    });
    expect(requiredLimits).toEqual({ maxStorageBuffersPerShaderStage: 10 });
    expect(provenance).toEqual({ made_by: "hand" });
  });

  const edge = { id: "a->b", from: "a", to: "b" };
  const cases: readonly [string, Record<string, unknown>, string][] = [
    ["an unknown key", { colour: "red" }, "unknown key 'colour'"],
    ["a missing key", { agents: undefined }, "missing key 'agents'"],
    ["a wrong type", { rounds: "three" }, 'rounds: expected number, got "three"'],
    ["no rounds", { rounds: 0 }, "rounds: expected >=1, got 0"],
    ["another format", { format: "gguf" }, 'expected "recursivemas.system", got "gguf"'],
    ["a newer version", { version: 2 }, "manifest version 2 is newer"],
    [
      "a path that leaves the folder",
      { links: "../links.json" },
      "expected a path below the manifest's folder",
    ],
    [
      "a path that is a URL",
      { links: "https://example.org/l.json" },
      "expected a path below the manifest's folder",
    ],
    [
      "an edge to nobody",
      { edges: [{ id: "a->x", from: "a", to: "x" }] },
      "edge 'a->x' names an unknown agent",
    ],
    [
      "a cycle without an order",
      { edges: [{ id: "c->a", from: "c", to: "a" }] },
      "closes a cycle without an order",
    ],
    ["feedback that runs forward", { edges: [{ ...edge, feedback: true }] }, "its receiver runs later"],
    ["two edges of one id", { edges: [edge, edge] }, "an edge id appears twice"],
    [
      "two agents of one id",
      { agents: [agentJson("a", 8, []), agentJson("a", 8, [])], edges: [] },
      "an agent id appears twice",
    ],
    [
      "an agent called constructor",
      { agents: [agentJson("constructor", 8, [])], edges: [] },
      "'constructor' has a meaning in JavaScript",
    ],
    ["an edge called toString", { edges: [{ ...edge, id: "toString" }] }, "'toString' has a meaning"],
    ["a file that is not listed", { files: [] }, "'files' does not list recursivelink.json"],
  ];
  test.each(cases)("is refused with one clear line: %s", async (_, changes, message) => {
    const said = await failure(parse(manifestJson(changes)));
    expect(said).toMatch(says("bad-manifest", message));
    expect(said).not.toContain("\n");
  });

  test("is refused when it is not JSON", async () => {
    expect(await failure(() => parseSystem("<html>", "system.json"))).toMatch(
      says("bad-manifest", "not valid JSON"),
    );
  });
});

test("memory is that of all agents, or of the largest and the links; a shared checkpoint counts once", () => {
  const agents = [agentJson("a", 8, []), agentJson("b", 8, []), agentJson("c", 8, [])].map(
    (agent, index) => ({
      ...agent,
      memory_bytes: [500, 500, 700][index],
      model_lib: ["a/a-q0f32-webgpu.wasm", "a/a-q0f32-webgpu.wasm", "c/c-q0f32-webgpu.wasm"][index],
    }),
  );
  const shared = system({ agents, edges: [], memory_bytes: 1230 });
  expect(memoryOf(shared)).toEqual({ togetherBytes: 1230, oneByOneBytes: 730 });
});
