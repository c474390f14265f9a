/** What a run is going to do, before it begins: its turns, so that the score is drawn at its full length at once. */
import type { Mode } from "../../engine/api";
import type { SystemView } from "./system-view";

/** The settings that decide a run's shape. */
export interface RunShape {
  readonly mode: Mode;
  readonly rounds: number;
  readonly latentSteps: number;
  readonly thinkBeforeAnswer: boolean;
  readonly textTokens: number | null;
}

/** One turn that will happen. */
export interface PlannedTurn {
  readonly round: number;
  readonly agent: string;
  /** Latent steps, or most tokens of a thought in text mode. */
  readonly slots: number;
  /** Whether it ends in the answer. */
  readonly answers: boolean;
}

/** Source: docs/recursion.md, rules 3 and 5–7. */
export function outline(system: SystemView, shape: RunShape): PlannedTurn[] {
  const decider = system.agents.at(-1)?.id ?? "";
  const { mode, rounds, latentSteps } = shape;
  if (mode === "single") return [{ round: 0, agent: decider, slots: 0, answers: true }];
  if (mode === "loop") {
    return [{ round: 0, agent: decider, slots: rounds * latentSteps * system.agents.length, answers: true }];
  }
  const slots = mode === "text" ? (shape.textTokens ?? latentSteps) : latentSteps;
  return Array.from({ length: rounds }, (_, round) =>
    system.agents.map(({ id }): PlannedTurn => {
      const answers = id === decider && round === rounds - 1;
      return { round, agent: id, slots: answers && !shape.thinkBeforeAnswer ? 0 : slots, answers };
    }),
  ).flat();
}
