import { describe, expect, test } from "vitest";
import { similarity } from "../../src/engine/early-stopping";
import { planRun } from "../../src/engine/plan";
import { performTurn, runSystem } from "../../src/engine/recursion";
import type { Matrix, RunEvent, RunOptions } from "../../src/engine/types";
import { failure, says } from "./errors";
import { type FakeAgent, fakeStage, Log } from "./fake-agent";
import { agentJson, system } from "./fixtures";

const A = 65;

/** A matrix of one row in the plane, at an angle in degrees. */
const at = (degrees: number, length = 1): Matrix => {
  const angle = (degrees * Math.PI) / 180;
  return { rows: 1, columns: 2, data: Float32Array.of(length * Math.cos(angle), length * Math.sin(angle)) };
};
const cosine = (degrees: number): number => Math.cos((degrees * Math.PI) / 180);

/** Runs a ring a, b, c whose hand-offs over c->a have these angles, round by round. */
async function run(
  angles: readonly number[],
  options: Partial<RunOptions>,
  made = system(),
  resident = true,
) {
  const log = new Log();
  const stage = fakeStage(made, log, { decodes: [[A]] }, resident);
  const c = stage.agents.get("c") as FakeAgent;
  const outerLink = c.outerLink.bind(c);
  let round = 0;
  c.outerLink = (...given) => {
    const states = outerLink(...given);
    const angle = angles[round++] ?? 0;
    states.read = async () => at(angle, 2);
    return states;
  };
  const events: RunEvent[] = [];
  const result = await runSystem(
    stage,
    { question: "q", latentSteps: 2, ...options },
    { onEvent: (event) => events.push(event) },
  );
  expect(log.alive).toBe(0);
  return { result, events, log };
}

describe("the similarity of two hand-offs", () => {
  test("is the least cosine of their positions", () => {
    const two = (a: Matrix, b: Matrix): Matrix => ({
      rows: 2,
      columns: 2,
      data: Float32Array.from([...a.data, ...b.data]),
    });
    expect(similarity(two(at(0), at(10)), two(at(30, 5), at(70)))).toBeCloseTo(cosine(60), 6);
    expect(similarity(at(20), at(20, 3))).toBeCloseTo(1, 6);
    expect(similarity(at(20), at(200))).toBeCloseTo(-1, 6);
  });

  test("is 0 for zeros, and for hand-offs of another shape", () => {
    const zeros: Matrix = { rows: 1, columns: 2, data: new Float32Array(2) };
    expect(similarity(zeros, zeros)).toBe(0);
    expect(similarity(at(0), { rows: 1, columns: 1, data: Float32Array.of(1) })).toBe(0);
  });
});

describe("a run that may stop early", () => {
  const thinks = { decoding: { thinkBeforeAnswer: true } };
  const threshold = (degrees: number) => ({ earlyStopping: { threshold: cosine(degrees) } });

  test("ends in the round whose feedback is like that of the round before, and is a run of fewer rounds", async () => {
    const { result, log } = await run([0, 50, 60, 60], { rounds: 6, ...thinks, ...threshold(20) });
    expect(result.earlyStop).toEqual({ round: 2, similarity: expect.closeTo(cosine(10), 5) });
    const fewer = await run([0, 50, 60], { rounds: 3, ...thinks });
    const plain = ({
      round,
      agent,
      forwardPositions,
      latentSteps,
      decodedTokens,
      text,
    }: object & Record<string, unknown>) => ({
      ...{ round, agent, forwardPositions, latentSteps, decodedTokens, text },
    });
    expect(result.turns.map((turn) => plain({ ...turn }))).toEqual(
      fewer.result.turns.map((turn) => plain({ ...turn })),
    );
    expect([result.answer, result.rounds]).toEqual(["A", 3]);
    expect(fewer.result).not.toHaveProperty("earlyStop");
    const back = result.handoffs.filter(({ edge }) => edge === "c->a");
    expect(back.map((each) => each.similarity)).toEqual([
      undefined,
      expect.closeTo(cosine(50), 5),
      expect.closeTo(cosine(10), 5),
    ]);
    expect(result.handoffs.filter((each) => each.edge !== "c->a" && "similarity" in each)).toEqual([]);
    expect(log.lines.slice(log.lines.lastIndexOf("c begin"))).toEqual([
      "c begin",
      'c feed "<c q " [b->c(in(b1)) b->c(in(b2))] ">" for hidden',
      "c think",
      "c hand over c->a",
      "c think",
      'c feed "=" for logits',
      "c decode 65",
    ]);
  });

  test("takes the turn again if the agent does not think before it answers", async () => {
    const { result, log } = await run([0, 5], { rounds: 4, ...threshold(20) });
    expect(result.earlyStop?.round).toBe(1);
    expect(result.turns.map(({ round, agent }) => `${round} ${agent}`).slice(3)).toEqual([
      ...["1 a", "1 b", "1 c", "1 c"],
    ]);
    expect(log.lines.slice(log.lines.lastIndexOf("c begin"))).toEqual([
      "c begin",
      'c feed "<c q " [b->c(in(b1)) b->c(in(b2))] ">" "=" for logits',
      "c decode 65",
    ]);
  });

  test.each([
    ["nothing is alike", [0, 90, 180, 270], {}],
    ["the mode hands over no rows", [0, 0, 0, 0], { mode: "text" }],
    ["no feedback is carried", [0, 0, 0, 0], { edges: ["a->b", "b->c"] }],
    ["the run does not ask for it", [0, 0, 0, 0], { earlyStopping: undefined as never }],
    ["only the last round is alike", [0, 90, 90], { rounds: 3 }],
    ["it is zeros that are handed back", [0, 0, 0, 0], { replace: { "c->a": "zeros" } }],
  ] as const)("takes all rounds if %s", async (_, angles, options) => {
    const { result } = await run(angles, { rounds: 4, ...thinks, ...threshold(20), ...options });
    expect(result).not.toHaveProperty("earlyStop");
    expect(result.rounds).toBe("rounds" in options ? 3 : 4);
  });

  test("compares on the CPU what agents that are loaded one after another hand over", async () => {
    const { result } = await run([0, 40, 41], { rounds: 5, ...thinks, ...threshold(20) }, system(), false);
    expect(result.earlyStop?.round).toBe(2);
  });

  test("waits for the least alike of several edges", async () => {
    const agents = [
      agentJson("a", 8, ["c->a"]),
      agentJson("b", 12, ["c->b"]),
      agentJson("c", 16, ["a->c", "b->c"]),
    ];
    const edges = [
      { id: "a->c", from: "a", to: "c" },
      { id: "b->c", from: "b", to: "c" },
      { id: "c->a", from: "c", to: "a", feedback: true },
      { id: "c->b", from: "c", to: "b", feedback: true },
    ];
    // Both edges in turn: only in round 3 are both like the round before.
    const { result } = await run(
      [0, 0, 0, 60, 5, 65],
      { rounds: 5, ...thinks, ...threshold(20) },
      system({ agents, edges }),
    );
    expect(result.earlyStop?.round).toBe(2);
  });

  test("plans the turns in which it may end, and refuses a threshold that is none", async () => {
    const plan = planRun(system(), { rounds: 4, ...threshold(20) });
    expect(plan.turns.flatMap((turn, index) => (turn.mayStop ? [index] : []))).toEqual([5, 8]);
    expect(planRun(system(), plan.settings).turns).toEqual(plan.turns);
    for (const value of [0, 1.1, Number.NaN]) {
      const said = await failure(() => run([], { earlyStopping: { threshold: value } }));
      expect(said).toMatch(
        says("bad-option", `earlyStopping.threshold must be above 0 and at most 1, got ${value}`),
      );
    }
  });

  test("is left to whoever takes the other turns, if one turn is taken alone", async () => {
    const stage = fakeStage(system(), new Log(), { decodes: [[A]] });
    const options = { question: "q", rounds: 3, ...threshold(90), ...thinks };
    const request = { options, turn: 5, carried: {}, drawn: 0, calls: 0 };
    expect(await performTurn(stage, request)).not.toHaveProperty("answer");
  });
});
