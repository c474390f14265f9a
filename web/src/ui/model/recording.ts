/** A run that can be replayed, inspected, saved and opened again. */
import type { RunResult, TokenProbability } from "../../engine/api";
import type { SavedRun } from "../../formats/saved-run";
import { isComplete, isRight } from "../task/score";
import type { TimedEvent } from "./progress";

/** What was asked: the options are complete, and the origin says which files answered. */
export type Asked = Omit<SavedRun, "events" | "result">;

/** What was asked, what happened, and the result; `result` is undefined while the run lasts and if it was cancelled. */
export interface Recording extends Asked {
  readonly events: readonly TimedEvent[];
  readonly result: RunResult | undefined;
}

/** A run that ended. */
export type Finished = Recording & { readonly result: RunResult };

export function isFinished(recording: Recording | undefined): recording is Finished {
  return recording?.result !== undefined;
}

/** @returns undefined if the right answer is unknown, the run has not ended, or the page cannot tell. */
export function verdict(recording: Recording): boolean | undefined {
  const { result, expected, scoring, choices } = recording;
  if (!result || expected === undefined) return undefined;
  return (
    isRight(result.answer, { answer: expected, choices }, scoring) ||
    (isComplete(scoring) ? false : undefined)
  );
}

/** The logit lens of a turn: a list of likely tokens for each of its latent thoughts. */
export type Lens = readonly (readonly TokenProbability[])[];

/** @returns by turn, in order, the lens of every turn that has ended; undefined where there was none. */
export function lensesOf(events: readonly TimedEvent[]): (Lens | undefined)[] {
  return events.flatMap(({ event }) => (event.kind === "turn-end" ? [event.lens] : []));
}
