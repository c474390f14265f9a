import { describe, expect, test } from "vitest";
import { planRun, type RunEvent, type RunOptions } from "../../src/engine/api";
import { chaptersOf } from "../../src/ui/model/chapters";
import { columnsOf, layOut } from "../../src/ui/model/graph-layout";
import { progressAt, progressReader, type TimedEvent } from "../../src/ui/model/progress";
import { layOutScore, readerOf, stavesOf } from "../../src/ui/model/score-layout";
import { spacesOf } from "../../src/ui/model/spaces";
import { fakeBackend, fakeQuestions } from "./fake-engine";
import { fakeSystem } from "./fake-system";

const OPTIONS: Omit<RunOptions, "question"> = { mode: "latent", rounds: 3, latentSteps: 2 };

describe("what a run is going to do", () => {
  const system = fakeSystem();
  const count = (options: typeof OPTIONS) =>
    planRun(system, { ...OPTIONS, ...options }).turns.map(
      ({ round, agent, latentSteps, textTokens, answers }) => ({
        round,
        agent,
        slots: latentSteps + textTokens,
        answers,
      }),
    );

  test("latent: every agent, every round, the last one answers", () => {
    const turns = count({});
    expect(turns).toHaveLength(9);
    expect(turns.map(({ slots }) => slots)).toEqual(Array(9).fill(2));
    expect(turns.filter(({ answers }) => answers)).toEqual([
      { round: 2, agent: "solver", slots: 2, answers: true },
    ]);
    expect(count({ decoding: { thinkBeforeAnswer: false } }).at(-1)?.slots).toBe(0);
  });

  test("text: as many slots as tokens; loop: all steps in one turn; single: none", () => {
    expect(count({ mode: "text", decoding: { textTokens: 7 } })[0]?.slots).toBe(7);
    expect(count({ mode: "loop" })).toEqual([{ round: 0, agent: "solver", slots: 18, answers: true }]);
    expect(count({ mode: "single" })).toEqual([{ round: 0, agent: "solver", slots: 0, answers: true }]);
  });
});

describe("the graph", () => {
  test("puts agents in columns along the forward edges", () => {
    expect([...columnsOf(fakeSystem("sequential")).values()]).toEqual([0, 1, 2]);
    expect([...columnsOf(fakeSystem("mixture")).values()]).toEqual([0, 0, 1]);
  });

  test.each(["sequential", "mixture", "distillation"])("%s fits a phone and a desktop", (pattern) => {
    for (const width of [320, 358, 860, 1400]) {
      const { nodes, orbit, edges, height } = layOut(fakeSystem(pattern), width);
      for (const { x, y } of nodes.values()) {
        expect(x - orbit).toBeGreaterThanOrEqual(0);
        expect(x + orbit).toBeLessThanOrEqual(width);
        expect(y + orbit).toBeLessThanOrEqual(height);
      }
      expect(edges.every(({ path }) => /^[MQHVCL\d\s.,-]+$/.test(path))).toBe(true);
    }
  });
});

describe("the score", () => {
  const system = fakeSystem();

  test("never runs backwards, and ends inside the drawing", () => {
    for (const width of [320, 860]) {
      const turns = planRun(system, OPTIONS).turns;
      const layout = layOutScore(turns, stavesOf(system, turns), width);
      const xs = layout.turns.flatMap(({ slotsX }) => slotsX);
      expect(xs).toEqual([...xs].sort((a, b) => a - b));
      expect(Math.max(...xs)).toBeLessThan(layout.width);
      expect(layout.width).toBe(width);
    }
  });

  test("gets wider, then condenses, when there are very many steps", () => {
    const long = layOutScore(
      planRun(system, { ...OPTIONS, latentSteps: 40 }).turns,
      ["planner", "critic", "solver"],
      860,
    );
    expect(long.width).toBeGreaterThan(860);
    const huge = layOutScore(
      planRun(system, { ...OPTIONS, rounds: 64, latentSteps: 1024 }).turns,
      ["planner", "critic", "solver"],
      860,
    );
    expect(huge.condensed).toBe(true);
    expect(huge.turns.every(({ slotsX }) => slotsX.length === 0)).toBe(true);
  });

  test("leads feedback to the next round, and nowhere from the last", () => {
    const turns = planRun(system, OPTIONS).turns;
    const { turns: placed } = layOutScore(turns, stavesOf(system, turns), 860);
    const feedback = { id: "solver->planner", from: "solver", to: "planner", feedback: true };
    expect(readerOf(placed, feedback, 0)).toMatchObject({ agent: "planner", round: 1 });
    expect(readerOf(placed, feedback, 2)).toBeUndefined();
  });
});

async function run(): Promise<{ events: TimedEvent[]; result: Parameters<typeof spacesOf>[1] }> {
  const backend = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
  const handle = await backend.loadSystem("made-up");
  const events: TimedEvent[] = [];
  const result = await handle.run(
    { question: fakeQuestions(5)[4]?.question ?? "", rounds: 3, latentSteps: 2 },
    { onEvent: (event: RunEvent) => events.push({ at: events.length * 10, event }) },
  );
  return { events, result };
}

describe("progress", () => {
  test("counts what the events say, and agrees with the result in the end", async () => {
    const { events, result } = await run();
    const end = progressAt(events, events.length);
    expect(end.latentSteps).toBe(result.totalLatentSteps);
    expect(end.decodedTokens).toBe(result.decodedTokens);
    expect(end.answer).toBe(result.answer);
    expect(end.positions).toBe(result.turns.reduce((sum, turn) => sum + (turn.forwardPositions ?? 0), 0));
    expect(end.turns).toHaveLength(9);
    expect(end.active).toBeUndefined();
    const first = progressAt(events, 2);
    expect(first).toMatchObject({
      active: 0,
      latentSteps: 1,
      positions: events[0]?.event.kind === "turn-start" ? 29 : -1,
    });
    expect(progressAt(events, 0).turns).toEqual([]);
  });

  test("read forth and back is the same as counted from the beginning", async () => {
    const [{ events }, { events: others }] = [await run(), await run()];
    const at = progressReader();
    for (const count of [0, 1, 2, 9, 9, 4, 1e9]) expect(at(events, count)).toEqual(progressAt(events, count));
    expect(at([...events], 1e9)).toEqual(progressAt(events, 1e9));
    const shifted = others.map((each) => ({ ...each, at: each.at + 5 }));
    expect(at(shifted, 1e9)).toEqual(progressAt(shifted, 1e9));
  });

  test("the guide ends each chapter at its moment", async () => {
    const { events } = await run();
    const chapters = chaptersOf({ agents: fakeSystem().agents, apart: false }, events);
    expect(chapters).toHaveLength(6);
    const untils = chapters.map(({ until }) => until);
    expect(untils).toEqual([...untils].sort((a, b) => a - b));
    expect(untils.at(-1)).toBe(events.length);
    expect(events[(untils[3] ?? 0) - 1]?.event.kind).toBe("handoff");
  });
});

describe("spaces", () => {
  test("compare vectors within an agent only, and readings across", async () => {
    const { result } = await run();
    const spaces = spacesOf(fakeSystem(), result);
    expect(spaces.map(({ id }) => id)).toEqual([
      "readings",
      "thoughts/planner",
      "arrivals/planner",
      "thoughts/critic",
      "arrivals/critic",
      "thoughts/solver",
      "arrivals/solver",
    ]);
    for (const { items, similarity } of spaces) {
      expect(similarity).toHaveLength(items.length ** 2);
      items.forEach((_, index) => {
        expect(similarity[index * items.length + index]).toBeCloseTo(1, 5);
      });
    }
    expect(spaces[1]?.items.every(({ agent }) => agent === "planner")).toBe(true);
  });
});
