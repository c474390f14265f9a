/** Many held-out questions through several modes and numbers of rounds. */
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Mode, TaskQuestion } from "../../engine/api";
import type { Asked } from "../model/recording";
import { sample } from "../model/sample";
import type { Trial } from "../model/tally";
import { isRight } from "../task/score";
import type { Session } from "./session";

/** What is to be measured. */
export interface Survey {
  readonly modes: readonly Mode[];
  /** Numbers of rounds, for the modes that have rounds. */
  readonly rounds: readonly number[];
  /** How many questions, balanced over the groups of the set. */
  readonly questions: number;
}

/** One run to make. */
export interface Cell {
  readonly mode: Mode;
  readonly rounds: number;
}

/** A lone agent has no rounds: one cell of rounds 1. */
export function cellsOf({ modes, rounds }: Survey): Cell[] {
  return modes.flatMap((mode): Cell[] =>
    mode === "single" ? [{ mode, rounds: 1 }] : rounds.map((each) => ({ mode, rounds: each })),
  );
}

export class Measure {
  readonly #trials = signal<readonly Trial[]>([]);
  readonly #running = signal(false);
  readonly #planned = signal(0);
  readonly #elapsedMs = signal(0);
  #controller = new AbortController();

  constructor(private readonly session: Session) {}

  get trials(): ReadonlySignal<readonly Trial[]> {
    return this.#trials;
  }
  get running(): ReadonlySignal<boolean> {
    return this.#running;
  }
  /** How many runs the survey has in all. */
  get planned(): ReadonlySignal<number> {
    return this.#planned;
  }
  get elapsedMs(): ReadonlySignal<number> {
    return this.#elapsedMs;
  }

  /** Every cell of a question before the next question: whenever it stops, all cells have seen the same questions. */
  async start(asked: Asked, held: readonly TaskQuestion[], survey: Survey): Promise<void> {
    const controller = new AbortController();
    this.#controller = controller;
    const cells = cellsOf(survey);
    const chosen = sample(held, survey.questions);
    const began = performance.now();
    this.#trials.value = [];
    this.#planned.value = cells.length * chosen.length;
    this.#elapsedMs.value = 0;
    this.#running.value = true;
    try {
      for (const index of chosen) {
        const done: Trial[] = [];
        for (const cell of cells) {
          const trial = await this.#try(asked, held, index, cell, controller.signal);
          if (trial) done.push(trial);
        }
        this.#trials.value = [...this.#trials.value, ...done];
        this.#elapsedMs.value = performance.now() - began;
      }
    } catch {
      // The session shows the problem; what was measured stays.
    } finally {
      this.#running.value = false;
    }
  }

  cancel(): void {
    this.#controller.abort();
  }

  clear(): void {
    this.cancel();
    this.#trials.value = [];
    this.#planned.value = 0;
  }

  async #try(
    asked: Asked,
    held: readonly TaskQuestion[],
    index: number,
    { mode, rounds }: Cell,
    aborted: AbortSignal,
  ): Promise<Trial | undefined> {
    const question = held[index];
    if (!question) return undefined;
    const options = { ...asked.options, question: question.question, mode, rounds };
    const result = await this.session.run(options, { signal: aborted });
    return {
      question: index,
      group: question.group,
      mode,
      rounds,
      right: isRight(result.answer, question, asked.scoring),
      decodedTokens: result.decodedTokens,
      ms: result.ms,
    };
  }
}
