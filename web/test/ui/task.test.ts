import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Scoring } from "../../src/formats/generated/names";
import { NOTHING_YET, type Progress, type TurnProgress } from "../../src/ui/model/progress";
import { askAgain, asksForDestination, destination, footsteps, legsOf } from "../../src/ui/model/trail";
import { parseRing, parseRingState, type RingQuestion } from "../../src/ui/task/hop";
import { isRight, type RightAnswer } from "../../src/ui/task/score";
import { splitAnswer, spokenAnswer } from "../../src/ui/task/tools";

interface Case {
  readonly answer: string;
  readonly right: string;
  readonly choices?: readonly string[];
  readonly scoring: Scoring;
  readonly expected: boolean;
}

describe("scoring", () => {
  const file = new URL("../../../tests/fixtures/scoring_cases.json", import.meta.url);
  const cases = JSON.parse(readFileSync(file, "utf-8")) as Case[];
  test.each(cases)("$scoring: '$answer' for '$right' is $expected", (each) => {
    const right: RightAnswer = { answer: each.right, choices: each.choices };
    expect(isRight(each.answer, right, each.scoring)).toBe(each.expected);
  });
});

describe("ring questions", () => {
  test("are read from the start, in walking order", () => {
    expect(parseRing("c>a a~b b-c ? b@2")).toEqual({
      ring: ["b", "c", "a"],
      ways: ["rail", "road", "ferry"],
      hops: 2,
      starts: [0],
      candidates: [],
    });
  });

  test("may have two starts and two candidates", () => {
    const question = "c>a a>b b>d d>c ? c d from b@5 a@5";
    expect(parseRing(question)).toMatchObject({
      ring: ["b", "d", "c", "a"],
      hops: 5,
      starts: [0, 3],
      candidates: ["c", "d"],
    });
  });

  test.each([
    "What is the capital of France?",
    "",
    "a>b b>a ? a",
    "a>b b>a c>d d>c ? a@1",
    "a>b b>c ? a@1",
    "a>b b>a ? x@1",
    "a>b b>a ? a b from a@1 b@2",
    "a>b b>a ? a b from a@1 z@1",
  ])("are told from other text: '%s'", (text) => {
    expect(parseRing(text)).toBeUndefined();
  });

  test("know where a walk ends, more than once round too", () => {
    const ring = parseRing("c>a a>b b>c ? b@7");
    expect(ring && destination(ring)).toBe("c");
  });

  test("tell whether a task asks for where the walk ends", () => {
    const ask = (question: string, answer: string) => ({ question, answer });
    expect(asksForDestination([ask("c>a a>b b>c ? b@2", "a"), ask("c>a a>b b>c ? a@1", "b")])).toBe(true);
    expect(asksForDestination([ask("c>a a>b b>c ? b@2", "35")])).toBe(false);
    expect(asksForDestination([ask("What?", "b")])).toBe(false);
    expect(asksForDestination([])).toBe(false);
  });

  test("can be asked again with another start and other hops", () => {
    expect(askAgain("c>a a>b b>c ? b@2", "a", 11)).toBe("c>a a>b b>c ? a@11");
  });

  test("tell thoughts about the walk from others", () => {
    const ring = ["b", "c", "a"];
    expect(parseRingState(" c@4 ", ring)).toEqual({ symbol: "c", left: 4 });
    expect(parseRingState("a", ring)).toEqual({ symbol: "a", left: undefined });
    expect(parseRingState("z@4", ring)).toBeUndefined();
    expect(parseRingState("go on", ring)).toBeUndefined();
  });
});

describe("footsteps", () => {
  const question = parseRing("c>a a>b b>c ? b@2") as RingQuestion;
  const turn = (patch: Partial<TurnProgress>): TurnProgress => ({
    round: 0,
    agent: "planner",
    promptTokens: 1,
    latentRows: 0,
    steps: 0,
    of: 2,
    lens: [],
    tokens: [],
    kept: 0,
    positions: 0,
    done: false,
    ...patch,
  });
  const likely = (...words: [text: string, probability: number][]) =>
    words.map(([text, probability], tokenId) => ({ tokenId, text, probability }));

  test("come from thoughts taken so far and from words, in order", () => {
    const progress: Progress = {
      ...NOTHING_YET,
      turns: [
        turn({ steps: 2 }),
        turn({ agent: "critic", steps: 1 }),
        turn({ agent: "solver", tokens: [{ text: " a", answer: true }] }),
      ],
    };
    const lenses = [
      [likely(["c@1", 0.9]), likely(["a@0", 0.9])],
      [likely(["odd", 0.9]), likely(["b@0", 0.9])],
      undefined,
    ];
    const steps = footsteps(question, progress, lenses);
    expect(steps.map(({ agent, places }) => [agent, ...places.map(({ place }) => place)])).toEqual([
      ["planner", 1],
      ["planner", 2],
      ["critic"],
      ["solver", 2],
    ]);
  });

  test("a thought may be in two places at once; unlikely ones are left out, and readings of one place add up", () => {
    const progress: Progress = { ...NOTHING_YET, turns: [turn({ steps: 1 })] };
    const lens = [likely(["c@1", 0.4], ["b@1", 0.3], ["c@2", 0.15], ["a@1", 0.1])];
    const [step] = footsteps(question, progress, [lens]);
    expect(step?.places).toEqual([
      { place: 1, share: expect.closeTo(0.55) },
      { place: 0, share: expect.closeTo(0.3) },
    ]);
  });

  test("are joined to the nearest place before them", () => {
    const step = (...places: number[]) => ({
      agent: "a",
      round: 0,
      token: "",
      places: places.map((place) => ({ place, share: 0.5 })),
    });
    const ring = { ...question, ring: [..."bcdefghi"], starts: [0, 4] };
    const legs = legsOf(ring, [step(5, 1), step(), step(6, 2)]);
    expect(legs.map(({ from, to, ahead }) => [from, to, ahead])).toEqual([
      [4, 5, 1],
      [0, 1, 1],
      [5, 6, 1],
      [1, 2, 1],
    ]);
  });
});

describe("answers with tool calls", () => {
  const answer = "so <calculator> 6 * 5 </calculator> <result> 30 </result>";

  test("are taken apart", () => {
    expect(splitAnswer(answer)).toEqual([
      { kind: "text", text: "so " },
      { kind: "call", tool: "calculator", input: "6 * 5", result: "30" },
    ]);
    expect(splitAnswer("<calculator>6")).toEqual([{ kind: "text", text: "<calculator>6" }]);
    expect(splitAnswer("<script>x</script>")).toEqual([{ kind: "text", text: "<script>x</script>" }]);
  });

  test("say what is left, or else the last result", () => {
    expect(spokenAnswer(answer)).toBe("so");
    expect(spokenAnswer("<calculator>6 * 5</calculator> <result> 30 </result>")).toBe("30");
    expect(spokenAnswer("plain")).toBe("plain");
    expect(spokenAnswer("")).toBe("");
  });
});
