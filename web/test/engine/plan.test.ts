import { describe, expect, test } from "vitest";
import { planRun, promptProblem } from "../../src/engine/plan";
import type { RunOptions } from "../../src/engine/types";
import { system } from "./fixtures";

/** `round agent`, the latent steps or tokens of thought, and the edges of every turn. */
const turns = (options: Omit<RunOptions, "question">): string[] =>
  planRun(system(), options).turns.map(
    ({ round, agent, latentSteps, textTokens, answers, sends }) =>
      `${round} ${agent} ${latentSteps}/${textTokens}${answers ? " answers" : ""} ${sends.map(({ id }) => id).join()}`,
  );

describe("the plan of a run", () => {
  test("takes from the system what the options leave out", () => {
    const { settings, agents, textTokens } = planRun(system());
    expect(settings).toMatchObject({ mode: "latent", rounds: 2, latentSteps: 3, order: ["a", "b", "c"] });
    expect(settings.decoding).toEqual({
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
    expect(agents).toEqual(system().agents);
    expect(textTokens).toBe(3);
  });

  test("names every turn of latent mode, and hands over only to agents that are still to run", () => {
    expect(turns({})).toEqual([
      "0 a 3/0 a->b",
      "0 b 3/0 b->c",
      "0 c 3/0 c->a",
      "1 a 3/0 a->b",
      "1 b 3/0 b->c",
      "1 c 0/0 answers ",
    ]);
  });

  test("names every turn of the other modes", () => {
    const text = { mode: "text", rounds: 1, decoding: { textTokens: 7, thinkBeforeAnswer: true } } as const;
    expect(turns(text)).toEqual(["0 a 0/7 a->b", "0 b 0/7 b->c", "0 c 0/7 answers "]);
    expect(turns({ mode: "single" })).toEqual(["0 c 0/0 answers "]);
    expect(turns({ mode: "loop" })).toEqual(["0 c 18/0 answers "]);
  });

  test("keeps edges between agents that take part, and finds which are feedback", () => {
    const { edges } = planRun(system(), { order: ["c", "a"] });
    expect(edges).toEqual([{ id: "c->a", from: "c", to: "a", feedback: false }]);
    expect(planRun(system(), { edges: ["b->c"] }).edges.map(({ id }) => id)).toEqual(["b->c"]);
  });

  test.each(["latent", "text", "single", "loop"] as const)(
    "is the same for its own settings (%s)",
    (mode) => {
      const plan = planRun(system(), { mode, order: ["b", "a"], edges: ["a->b"], latentSteps: 5 });
      expect(planRun(system(), plan.settings)).toEqual(plan);
    },
  );

  test("needs no more of a system than a saved run keeps, if the settings are complete", () => {
    const { settings, turns } = planRun(system());
    const { agents, edges } = system();
    const kept = { agents: agents.map(({ id, hiddenSize }) => ({ id, hiddenSize })), edges };
    expect(planRun(kept, settings).turns).toEqual(turns);
    expect(() => planRun(kept)).toThrow("rounds must be a whole number from 1 to 64, got undefined");
  });
});

describe("the check of a prompt that is being typed", () => {
  test.each(["", "{question} {latent:a->b}", "{{braces}}"])("finds nothing wrong with '%s'", (template) => {
    expect(promptProblem(template, ["a->b"])).toBeUndefined();
  });

  test.each([
    ["{question", "unbalanced '{' at character 0"],
    ["{answer}", "unknown slot {answer}"],
    ["{latent:b->a}", "slot {latent:b->a} without an edge; edges that arrive here: a->b"],
  ])("says in one line what is wrong with '%s'", (template, words) => {
    expect(promptProblem(template, ["a->b"])).toContain(words);
  });
});
