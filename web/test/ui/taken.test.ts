import { describe, expect, test } from "vitest";
import { planRun, type RunResult } from "../../src/engine/api";
import { NOTHING_YET, type TurnProgress } from "../../src/ui/model/progress";
import { changesOf, takenTurns } from "../../src/ui/model/taken";
import { system } from "../engine/fixtures";

const made = system();

function plan(thinkBeforeAnswer: boolean) {
  const decoding = { thinkBeforeAnswer };
  return planRun(made, { rounds: 4, latentSteps: 2, decoding, earlyStopping: { threshold: 0.9 } }).turns;
}

/** The first turns of the plan as they look when they were taken. */
function took(count: number, answers: boolean): TurnProgress[] {
  return plan(true)
    .slice(0, count)
    .map(({ round, agent }, index) => ({
      ...{ round, agent, promptTokens: 5, latentRows: 0, steps: 2, of: 2, positions: 7, kept: 0, done: true },
      lens: [],
      tokens: answers && index === count - 1 ? [{ text: "A", answer: true }] : [],
    }));
}

const names = (turns: readonly { agent: string; round: number }[]) =>
  turns.map(({ agent, round }) => `${agent}${round + 1}`);

describe("the turns of a run that may stop early", () => {
  test("are those of the plan until it stops, and then those that it took", () => {
    const planned = plan(true);
    expect(takenTurns(planned, NOTHING_YET)).toBe(planned);
    expect(takenTurns(planned, { turns: took(6, false) })).toBe(planned);
    const stopped = takenTurns(planned, { turns: took(6, true) });
    expect(names(stopped)).toEqual(["a1", "b1", "c1", "a2", "b2", "c2"]);
    expect(stopped.at(-1)).toMatchObject({ answers: true, latentSteps: 2 });
    expect(takenTurns(planned, { turns: took(12, true) })).toBe(planned);
  });

  test("have the last one twice if the agent takes its turn again to answer", () => {
    const again = { ...(took(6, false)[5] as TurnProgress), steps: 0 };
    const stopped = takenTurns(plan(false), { turns: [...took(6, false), again] });
    expect(names(stopped)).toEqual(["a1", "b1", "c1", "a2", "b2", "c2", "c2"]);
    expect(stopped.map(({ latentSteps }) => latentSteps)).toEqual([2, 2, 2, 2, 2, 2, 0]);
    expect(stopped.map(({ answers }) => answers)).toEqual([false, false, false, false, false, false, true]);
  });
});

test("changes are what early stopping compared, or else follow from hand-offs that were kept", () => {
  const states = (...data: number[]) => ({ rows: 1, columns: 2, data: Float32Array.from(data) });
  const handoffs = [
    { round: 0, edge: "a->b", from: "a", to: "b", rows: 1, states: states(1, 0) },
    { round: 0, edge: "c->a", from: "c", to: "a", rows: 1 },
    { round: 1, edge: "a->b", from: "a", to: "b", rows: 1, states: states(3, 4) },
    { round: 1, edge: "c->a", from: "c", to: "a", rows: 1, similarity: 0.75 },
  ];
  const result = { handoffs } as unknown as RunResult;
  expect(changesOf(made, result)).toEqual([
    { edge: "a->b", round: 1, similarity: expect.closeTo(0.6, 6), feedback: false },
    { edge: "c->a", round: 1, similarity: 0.75, feedback: true },
  ]);
});
