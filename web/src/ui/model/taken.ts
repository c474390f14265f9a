/** The turns of a run that stopped early, and how much what it handed back changed. Pure. */
import type { PlannedTurn, RunResult } from "../../engine/api";
import { similarity } from "../../engine/api";
import type { Progress } from "./progress";
import type { SystemView } from "./system-view";

/**
 * @returns the turns that are planned; from the moment at which a run stops early, only those that it took (rule 10 of
 *   docs/recursion.md).
 */
export function takenTurns(
  planned: readonly PlannedTurn[],
  { turns }: Pick<Progress, "turns">,
): readonly PlannedTurn[] {
  for (const [index, turn] of planned.entries()) {
    if (!turn.mayStop) continue;
    const next = turns[index + 1];
    const answer = { answers: true, sends: [] };
    if (next && next.agent === turn.agent && next.round === turn.round)
      return [...planned.slice(0, index + 1), { ...turn, ...answer, latentSteps: 0 }];
    if (turns[index]?.tokens.some(({ answer }) => answer))
      return [...planned.slice(0, index), { ...turn, ...answer }];
  }
  return planned;
}

/** How alike an edge's hand-offs of a round and of the round before are. */
export interface RoundChange {
  readonly edge: string;
  /** Counted from 0; the first is 1. */
  readonly round: number;
  readonly similarity: number;
  /** Whether early stopping looks at the edge. */
  readonly feedback: boolean;
}

/** @returns what can be compared; nothing if the run kept no hand-offs. */
export function changesOf(system: SystemView, { handoffs }: RunResult): readonly RoundChange[] {
  return handoffs.flatMap(({ edge, round, states, similarity: known }) => {
    const before = handoffs.find((each) => each.edge === edge && each.round === round - 1)?.states;
    const value = known ?? (states && before ? similarity(states, before) : undefined);
    // The order of a run may have turned an edge round; early stopping then has compared it.
    const feedback = known !== undefined || (system.edges.find(({ id }) => id === edge)?.feedback ?? false);
    return value === undefined ? [] : [{ edge, round, similarity: value, feedback }];
  });
}
