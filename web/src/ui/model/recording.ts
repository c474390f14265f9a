/** A run that can be replayed, inspected, saved and opened again. */
import type { RunOptions, RunResult, TokenProbability } from "../../engine/api";
import type { Scoring } from "../task/score";
import { isRight } from "../task/score";
import type { TimedEvent } from "./progress";
import type { SystemView } from "./system-view";

/** Which files produced a run. Two runs can be compared if it is the same for both. */
export interface Origin {
  /** sha256 of the system's manifest, which in turn gives the sha256 of every file. */
  readonly manifest: string | undefined;
  /** Name of the links that replaced the system's own, if the visitor opened any. */
  readonly links: string | undefined;
}

/** What was asked. */
export interface Asked {
  readonly system: SystemView;
  /** undefined: an old page saved the run without it. */
  readonly origin: Origin | undefined;
  /** The right answer, when it is known. */
  readonly expected: string | undefined;
  readonly scoring: Scoring;
  /** The choices that the question offers, if any. */
  readonly choices: readonly string[] | undefined;
  /** Complete: nothing is left to the system's defaults. */
  readonly options: RunOptions;
}

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

/** @returns undefined if the right answer is unknown or the run has not ended. */
export function verdict(recording: Recording): boolean | undefined {
  const { result, expected, scoring, choices } = recording;
  return result && expected !== undefined
    ? isRight(result.answer, { answer: expected, choices }, scoring)
    : undefined;
}

/** The logit lens of a turn: a list of likely tokens for each of its latent thoughts. */
export type Lens = readonly (readonly TokenProbability[])[];

/** @returns by turn, in order, the lens of every turn that has ended; undefined where there was none. */
export function lensesOf(events: readonly TimedEvent[]): (Lens | undefined)[] {
  return events.flatMap(({ event }) => (event.kind === "turn-end" ? [event.lens] : []));
}
