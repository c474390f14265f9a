/** A run as it can be replayed, looked into, saved and opened again. */
import type { RunOptions, RunResult, TokenProbability } from "../../engine/api";
import type { Scoring } from "../task/score";
import { isRight } from "../task/score";
import type { RunShape } from "./outline";
import type { TimedEvent } from "./progress";
import type { SystemView } from "./system-view";

/** Which files answered: two runs can be set against each other when it is the same for both. */
export interface Origin {
  /** sha256 of the system's manifest, which stands for every file it lists. */
  readonly manifest: string | undefined;
  /** Name of the links that the visitor opened in place of the system's own. */
  readonly links: string | undefined;
}

/** What was asked. */
export interface Asked {
  readonly system: SystemView;
  /** undefined: the run was saved by a page that did not write it down. */
  readonly origin: Origin | undefined;
  /** The right answer, when it is known. */
  readonly expected: string | undefined;
  readonly scoring: Scoring;
  /** Of the question, when it has some. */
  readonly choices: readonly string[] | undefined;
  /** Complete: nothing is left to the system's defaults. */
  readonly options: RunOptions;
}

/** What was asked, what happened, what came out. `result` is absent while it goes on, and after a cancelled run. */
export interface Recording extends Asked {
  readonly events: readonly TimedEvent[];
  readonly result: RunResult | undefined;
}

/** A run that ended. */
export type Finished = Recording & { readonly result: RunResult };

export function isFinished(recording: Recording | undefined): recording is Finished {
  return recording?.result !== undefined;
}

/** @returns undefined when nobody knows, or the run has not ended. */
export function verdict(recording: Recording): boolean | undefined {
  const { result, expected, scoring, choices } = recording;
  return result && expected !== undefined
    ? isRight(result.answer, { answer: expected, choices }, scoring)
    : undefined;
}

export function shapeOf(options: RunOptions): RunShape {
  return {
    mode: options.mode ?? "latent",
    rounds: options.rounds ?? 1,
    latentSteps: options.latentSteps ?? 1,
    thinkBeforeAnswer: options.decoding?.thinkBeforeAnswer ?? false,
    textTokens: options.decoding?.textTokens ?? null,
  };
}

/** The logit lens of a turn: a list of likely tokens for each of its latent thoughts. */
export type Lens = readonly (readonly TokenProbability[])[];

/** @returns by turn, in order, the lens of every turn that has ended; undefined where there was none. */
export function lensesOf(events: readonly TimedEvent[]): (Lens | undefined)[] {
  return events.flatMap(({ event }) => (event.kind === "turn-end" ? [event.lens] : []));
}
