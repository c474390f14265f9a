import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/engine/api";
import { FormatError } from "../../src/formats/errors";
import { readSavedRun, writeSavedRun } from "../../src/formats/saved-run";
import { progressAt } from "../../src/ui/model/progress";
import type { Finished } from "../../src/ui/model/recording";
import { viewOf } from "../../src/ui/model/system-view";
import { fakeBackend, fakeQuestions } from "../ui/fake-engine";

/** A finished run of the stand-in engine. */
async function record(mode: "latent" | "text"): Promise<Finished> {
  const backend = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
  const handle = await backend.loadSystem("made-up");
  const asked = fakeQuestions(3)[2];
  const events: { at: number; event: RunEvent }[] = [];
  const decoding = { ...handle.system.decoding };
  const options = {
    question: asked?.question ?? "",
    fields: { critic_facts: "a road", mapKey: "" },
    mode,
    rounds: 2,
    latentSteps: 3,
    decoding,
    edges: handle.system.edges.map(({ id }) => id),
    order: handle.system.agents.map(({ id }) => id),
    prompts: { critic: { prompt: "{question}" }, planner: { firstRoundPrompt: null } },
  };
  const result = await handle.run(options, {
    onEvent: (event) => events.push({ at: events.length, event }),
  });
  return {
    system: viewOf(handle.system),
    origin: { manifest: "a1".repeat(32), links: "other.json" },
    expected: asked?.answer,
    choices: undefined,
    scoring: "exact",
    options,
    events,
    result,
  };
}

function altered(text: string, change: (file: Record<string, never>) => void): string {
  const file = JSON.parse(text) as Record<string, never>;
  change(file);
  return JSON.stringify(file);
}

describe("a saved run", () => {
  test.each(["latent", "text"] as const)("comes back as it was: %s mode", async (mode) => {
    const run = await record(mode);
    const opened = readSavedRun(writeSavedRun(run));
    expect(opened).toEqual(run);
    expect(progressAt(opened.events, 1e9).answer).toBe(run.result.answer);
  });

  test("of an older page opens, and knows neither its build nor its order", async () => {
    const run = await record("latent");
    const { order: _, ...options } = run.options;
    const older = { ...run, origin: undefined, options };
    const text = altered(writeSavedRun(older), (file) => Object.assign(file, { version: 1 }));
    expect(JSON.parse(text)).not.toHaveProperty("origin");
    expect(readSavedRun(text)).toEqual(older);
  });

  test("is refused when it is no JSON, another format, or from a newer page", async () => {
    const text = writeSavedRun(await record("latent"));
    expect(() => readSavedRun("not JSON")).toThrow(FormatError);
    expect(() => readSavedRun("{}")).toThrow(/not a saved run/);
    expect(() => readSavedRun(altered(text, (file) => Object.assign(file, { version: 6 })))).toThrow(
      /newer than this page/,
    );
    expect(() => readSavedRun(altered(text, (file) => Object.assign(file, { extra: 1 })))).toThrow(
      /not a saved run/,
    );
  });

  test("is refused when a matrix is not what it says", async () => {
    const text = writeSavedRun(await record("latent"));
    const broken = text.replace(/"rows":3,"columns":96/, '"rows":4,"columns":96');
    expect(broken).not.toBe(text);
    expect(() => readSavedRun(broken)).toThrow(/rows × columns/);
  });

  test("is refused when it contradicts itself", async () => {
    const text = writeSavedRun(await record("latent"));
    const stranger = text.replace(
      '"kind":"turn-start","at":0,"round":0,"agent":"planner"',
      '"kind":"turn-start","at":0,"round":0,"agent":"stranger"',
    );
    expect(stranger).not.toBe(text);
    expect(() => readSavedRun(stranger)).toThrow(/'stranger'/);
    const order = text.replace('"order":["planner"', '"order":["stranger"');
    expect(() => readSavedRun(order)).toThrow(/its order names/);
    const cut = text.replace(/\{"kind":"turn-end","at":\d+,"index":0\},/, "");
    expect(cut).not.toBe(text);
    expect(() => readSavedRun(cut)).toThrow(/turns begin/);
  });

  test("keeps text that looks like markup as text", async () => {
    const run = await record("latent");
    const markup = '<img src=x onerror="alert(1)">';
    const opened = readSavedRun(writeSavedRun({ ...run, result: { ...run.result, answer: markup } }));
    expect(opened.result.answer).toBe(markup);
  });
});

describe("a saved run of version", () => {
  const fixture = (version: number): string =>
    readFileSync(
      new URL(`../../../tests/fixtures/saved-runs/version-${version}.json`, import.meta.url),
      "utf8",
    );

  test.each([1, 2, 3, 4])("%i opens, and is the same once it is saved and opened again", (version) => {
    const run = readSavedRun(fixture(version));
    expect(run.result.turns.map(({ round, agent }) => [round, agent])).toEqual([
      [0, "planner"],
      [0, "critic"],
      [0, "solver"],
      [1, "planner"],
      [1, "critic"],
      [1, "solver"],
    ]);
    expect(run.options).toMatchObject({
      mode: "latent",
      rounds: 2,
      latentSteps: 2,
      edges: ["planner->critic", "critic->solver", "solver->planner"],
      prompts: { critic: { prompt: "{question}" }, planner: { firstRoundPrompt: null } },
    });
    expect(run.options.decoding).toMatchObject({ maxNewTokens: 4, answerPrefix: "=", textTokens: null });
    const states = run.result.handoffs[0]?.states;
    expect([states?.rows, states?.columns, states?.data.length]).toEqual([2, 2, 4]);
    expect(readSavedRun(writeSavedRun(run))).toEqual(run);
  });

  test("1 lacks what later versions keep", () => {
    const { origin, options, result } = readSavedRun(fixture(1));
    expect(origin).toBeUndefined();
    for (const key of ["order", "search", "replace", "trace"]) expect(options).not.toHaveProperty(key);
    expect(result.turns[0]).not.toHaveProperty("forwardPositions");
  });

  test("2 lacks what version 3 keeps", () => {
    const { origin, options, result } = readSavedRun(fixture(2));
    expect(origin).toEqual({ manifest: "a1".repeat(32), links: "other.json" });
    expect(options.order).toEqual(["planner", "critic", "solver"]);
    for (const key of ["search", "replace", "trace"]) expect(options).not.toHaveProperty(key);
    expect(result.turns[0]).not.toHaveProperty("forwardPositions");
  });

  test("3 keeps every option, and the positions of every turn", () => {
    const { options, result, events } = readSavedRun(fixture(3));
    expect(options.search).toEqual({ url: "https://en.wikipedia.org/w/api.php" });
    expect(options.trace).toEqual({ handoffs: true, thoughts: true, lensTopK: 2 });
    expect(options.replace).toEqual({
      "planner->critic": "zeros",
      "critic->solver": [{ rows: 2, columns: 2, data: Float32Array.of(0.5, -0.25, 1, 2) }],
    });
    expect(result.turns.every(({ forwardPositions = 0 }) => forwardPositions > 0)).toBe(true);
    expect(events.at(-1)?.event).toEqual({ kind: "turn-end", ...result.turns.at(-1) });
  });

  test("3 is written without what is of use only while a run goes on", () => {
    const run = readSavedRun(fixture(3));
    const lens = [{ tokenId: 1, text: "a", probability: 0.5 }];
    const events = run.events.map(({ at, event }) => ({
      at,
      event: event.kind === "step" ? { ...event, lens } : event,
    }));
    const live = { ...run, events, options: { ...run.options, lensEachStep: true } };
    expect(readSavedRun(writeSavedRun(live))).toEqual(readSavedRun(writeSavedRun(run)));
  });

  test("4 keeps the fields of the question and the settings that came with them", () => {
    const { options, result, system } = readSavedRun(fixture(4));
    expect(options.fields).toEqual({ solver_facts: "a>b {x}", kind: "walk" });
    expect(options.decoding).toMatchObject({
      temperature: null,
      topK: 20,
      repetitionPenalty: 1.1,
      maxToolCalls: 5,
    });
    expect(options.decoding?.answerRetry).toEqual({
      needs: "box",
      append: "\nFinal Answer: \\boxed{",
      maxNewTokens: 16,
    });
    expect(system.agents.map(({ latentSteps }) => latentSteps)).toEqual([undefined, 2, undefined]);
    expect(result.stopReason).toBe("max-tool-calls");
    expect(readSavedRun(fixture(3)).options).not.toHaveProperty("fields");
  });

  test("5 keeps where a run stopped early, and why", () => {
    const run = readSavedRun(fixture(5));
    expect(run.options).toMatchObject({ rounds: 4, earlyStopping: { threshold: 0.99 } });
    expect(run.result).toMatchObject({ rounds: 2, earlyStop: { round: 1, similarity: 0.9975 } });
    expect(run.result.handoffs.map(({ edge, similarity }) => [edge, similarity])).toEqual([
      ["planner->critic", undefined],
      ["critic->solver", undefined],
      ["solver->planner", undefined],
      ["planner->critic", undefined],
      ["critic->solver", undefined],
      ["solver->planner", 0.9975],
    ]);
    expect(run.result.turns.at(-1)).toMatchObject({ round: 1, agent: "solver" });
    expect(readSavedRun(writeSavedRun(run))).toEqual(run);
    expect(readSavedRun(fixture(4)).options).not.toHaveProperty("earlyStopping");
  });

  test.each([
    [{ early_stopping: undefined }, "nobody asked for"],
    [{ early_stopping: { threshold: 0.999 } }, "below its threshold 0.999"],
    [{ rounds: 2 }, "in round 2 of 2"],
  ])("5 is refused when its stop contradicts %j", (options, said) => {
    const file = JSON.parse(fixture(5));
    Object.assign(file.options, options);
    expect(() => readSavedRun(JSON.stringify(file))).toThrow(said);
  });

  test.each(["constructor", "prototype", "__proto__"])(
    "with a column called %s is refused, not cut",
    (name) => {
      const file = JSON.parse(fixture(4));
      Object.defineProperty(file.options.fields, name, { value: "x", enumerable: true });
      expect(() => readSavedRun(JSON.stringify(file))).toThrow(`a key is called '${name}'`);
    },
  );

  test.each(["constructor", "valueOf", "__proto__"])("with an agent called %s is refused", (name) => {
    const text = fixture(4).replaceAll('"planner"', JSON.stringify(name));
    expect(text).not.toBe(fixture(4));
    expect(() => readSavedRun(text)).toThrow(/has a meaning in JavaScript/);
  });

  test("3 is not written when its options are not complete", () => {
    const { options, ...run } = readSavedRun(fixture(3));
    const { mode: _, ...incomplete } = options;
    expect(() => writeSavedRun({ ...run, options: incomplete })).toThrow(/missing key 'options.mode'/);
  });
});
