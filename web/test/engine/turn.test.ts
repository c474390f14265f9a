import { describe, expect, test } from "vitest";
import { planRun } from "../../src/engine/plan";
import { UniformSource } from "../../src/engine/random";
import { performTurn, runSystem } from "../../src/engine/recursion";
import type { Carried, RunEvent, RunOptions, TurnResult } from "../../src/engine/types";
import { failure, says } from "./errors";
import { fakeStage, Log } from "./fake-agent";
import { system } from "./fixtures";

/** A run, turn by turn, as several devices take it. */
async function turnByTurn(options: RunOptions, log: Log): Promise<TurnResult[]> {
  // Every text turn decodes something of its own.
  const decodes = Array.from({ length: 6 }, (_, turn) => [65 + turn]);
  const stage = fakeStage(system(), log, { decodes });
  const results: TurnResult[] = [];
  let carried: Record<string, Carried> = {};
  const plan = planRun(system(), options);
  for (const [turn, { agent }] of plan.turns.entries()) {
    const arriving = plan.edges.filter(({ to }) => to === agent).map(({ id }) => id);
    const now = Object.fromEntries(Object.entries(carried).filter(([edge]) => arriving.includes(edge)));
    const { drawn, calls } = results.at(-1) ?? { drawn: 0, calls: 0 };
    const result = await performTurn(stage, { options, turn, carried: now, drawn, calls });
    carried = { ...carried, ...result.carried };
    results.push(result);
  }
  return results;
}

describe("a run that is taken turn by turn", () => {
  test.each(["latent", "text"] as const)("feeds the agents as a whole run does: %s", async (mode) => {
    const options = { question: "q", mode, latentSteps: 2 };
    const [whole, split] = [new Log(), new Log()];
    const stage = fakeStage(
      system(),
      whole,
      { decodes: Array.from({ length: 6 }, (_, turn) => [65 + turn]) },
      false,
    );
    const expected = await runSystem(stage, options);
    const results = await turnByTurn(options, split);
    expect(split.lines).toEqual(whole.lines);
    expect(results.map(({ summary }) => summary.agent)).toEqual(["a", "b", "c", "a", "b", "c"]);
    expect(results.map(({ answer }) => answer?.text)).toEqual([...Array(5).fill(undefined), expected.answer]);
    expect(results.at(-1)?.answer?.tokenIds).toEqual(expected.answerTokenIds);
    expect(split.alive).toBe(0);
  });

  test("gives what it hands over, and nothing over an edge that nobody reads any more", async () => {
    const results = await turnByTurn({ question: "q", latentSteps: 2 }, new Log());
    expect(results.map(({ carried }) => Object.keys(carried))).toEqual([
      ["a->b"],
      ["b->c"],
      ["c->a"],
      ["a->b"],
      ["b->c"],
      [],
    ]);
    expect(results[0]?.carried["a->b"]).toMatchObject({ rows: { rows: 2, columns: 12 } });
  });

  test("reports the turn as a run would", async () => {
    const events: RunEvent[] = [];
    const stage = fakeStage(system(), new Log());
    const request = { options: { question: "q", latentSteps: 1 }, turn: 1, carried: {}, drawn: 0, calls: 0 };
    await performTurn(stage, request, { onEvent: (event) => events.push(event) });
    expect(events.map(({ kind }) => kind)).toEqual(["turn-start", "step", "handoff", "turn-end"]);
    expect(events[0]).toMatchObject({ round: 0, agent: "b", latentRows: 0 });
  });

  test("refuses a turn that the run does not have", async () => {
    const request = { options: { question: "q" }, turn: 6, carried: {}, drawn: 0, calls: 0 };
    const error = await failure(() => performTurn(fakeStage(system(), new Log()), request));
    expect(error).toMatch(says("bad-option", "turn must be a whole number from 0 to 5, got 6"));
  });
});

test("numbers for sampling go on where the turns before ended", () => {
  const whole = new UniformSource(7);
  const first = Array.from({ length: 5 }, () => whole.next());
  const rest = new UniformSource(7, 3);
  expect([rest.next(), rest.next()]).toEqual(first.slice(3));
  expect(rest.drawn).toBe(5);
});
