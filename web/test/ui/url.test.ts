import { describe, expect, test } from "vitest";
import { DECODING } from "../../src/formats/generated/names";
import { planOf, runOptions } from "../../src/ui/model/settings";
import { INITIAL, isChanged, type PageState, parseQuery, printQuery } from "../../src/ui/model/url";
import { fakeSystem } from "./fake-system";

describe("the page's state in the URL", () => {
  test("is empty when everything is as the system has it", () => {
    expect(printQuery(INITIAL)).toBe("");
    expect(parseQuery("")).toEqual(INITIAL);
  });

  test("comes back as it was", () => {
    const state: PageState = {
      ...INITIAL,
      system: "https://host.test/a b/system.json?x=1",
      view: "measure",
      number: 12,
      question: "a>b & c=d ? «ü»\nnext line",
      mode: "text",
      rounds: 5,
      latentSteps: 128,
      temperature: 0.7,
      topP: 0.9,
      seed: 0,
      thinkBeforeAnswer: false,
      answerPrefix: "",
      off: ["solver->planner", "a->b"],
      prompts: { planner: "<bos> {question} {latent:solver->planner}" },
      firstPrompts: { "the-other": "x" },
    };
    expect(parseQuery(`?${printQuery(state)}`)).toEqual(state);
  });

  test.each(DECODING.map((setting) => [setting.name, setting] as const))(
    "carries the decoding setting %s",
    (name, setting) => {
      const value = setting.type === "text" ? "=" : setting.type === "boolean" ? false : setting.max;
      const state: PageState = { ...INITIAL, [name]: value };
      expect(parseQuery(`?${printQuery(state)}`)).toEqual(state);
      expect(planOf(fakeSystem(), state).settings.decoding[name]).toBe(value);
    },
  );

  test("reads the short names of version 0.1.0's links", () => {
    expect(parseQuery("?max=7&t=0.5&p=0.9&seed=3&think=0&prefix=x&tt=5")).toMatchObject({
      ...{ maxNewTokens: 7, temperature: 0.5, topP: 0.9, seed: 3 },
      ...{ thinkBeforeAnswer: false, answerPrefix: "x", textTokens: 5 },
    });
  });

  test.each([
    "rounds=0",
    "rounds=65",
    "rounds=2.5",
    "rounds=",
    "steps=many",
    "mode=telepathy",
    "t=-1",
    "think=yes",
    "view=x",
  ])("passes over what makes no sense: %s", (query) => {
    expect(parseQuery(query)).toEqual(INITIAL);
  });

  test("knows whether anything differs from the system's own", () => {
    expect(isChanged({ ...INITIAL, system: "x", view: "compare", number: 4, question: "q" })).toBe(false);
    expect(isChanged({ ...INITIAL, rounds: 2 })).toBe(true);
    expect(isChanged({ ...INITIAL, off: ["a->b"] })).toBe(true);
    expect(isChanged({ ...INITIAL, prompts: {} })).toBe(false);
  });
});

describe("settings of a run", () => {
  const system = fakeSystem();

  test("are the system's own where the page has none", () => {
    const own = planOf(system, INITIAL).settings;
    expect([own.mode, own.rounds, own.latentSteps]).toEqual(["latent", system.rounds, system.latentSteps]);
    expect(own.decoding).toEqual(system.decoding);
    expect(own.edges).toEqual(system.edges.map(({ id }) => id));
  });

  test("leave out edges that are switched off, and agents that the system does not have", () => {
    const state = { ...INITIAL, off: ["critic->solver"], prompts: { critic: "{question}", stranger: "x" } };
    const options = runOptions(system, state, "why?");
    expect(options.edges).toEqual(["planner->critic", "solver->planner"]);
    expect(options.prompts).toEqual({ critic: { prompt: "{question}" } });
    expect(options.question).toBe("why?");
  });

  test("keep a zero that was chosen", () => {
    const { decoding } = planOf(system, {
      ...INITIAL,
      seed: 0,
      temperature: 0,
      thinkBeforeAnswer: false,
    }).settings;
    expect([decoding.seed, decoding.temperature, decoding.thinkBeforeAnswer]).toEqual([0, 0, false]);
  });
});
