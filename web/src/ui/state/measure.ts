/** Many held-out questions in several modes and numbers of rounds. */
import { signal } from "@preact/signals";
import type { TaskQuestion } from "../../engine/api";
import { askInstead } from "../model/fields";
import type { Asked } from "../model/recording";
import { sample } from "../model/sample";
import { cellsOf, type Survey, type Trial } from "../model/tally";
import { isRight } from "../task/score";
import { Job } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

export class Measure {
  readonly job: ReadOnly<Job>;
  readonly trials = signal<readonly Trial[]>([]);
  /** How many runs the survey needs in all. */
  readonly planned = signal(0);
  readonly elapsedMs = signal(0);

  constructor(session: Session) {
    this.job = new Job(session);
  }

  /** Finishes all cells of a question before the next question, so that all cells always cover the same questions. */
  async start(asked: Asked, held: readonly TaskQuestion[], survey: Survey): Promise<void> {
    const cells = cellsOf(survey);
    const chosen = sample(held, survey.questions);
    const began = performance.now();
    this.trials.value = [];
    this.planned.value = cells.length * chosen.length;
    this.elapsedMs.value = 0;
    await this.job.start(async (run) => {
      for (const index of chosen) {
        const question = held[index];
        if (!question) continue;
        const done: Trial[] = [];
        for (const cell of cells) {
          const { result } = await run({ ...asked.options, ...cell, ...askInstead(question, asked.options) });
          const { answer, decodedTokens, ms } = result;
          const right = isRight(answer, question, asked.scoring);
          done.push({ question: index, group: question.group, ...cell, right, decodedTokens, ms });
        }
        this.trials.value = [...this.trials.value, ...done];
        this.elapsedMs.value = performance.now() - began;
      }
    });
  }

  clear(): void {
    this.job.drop();
    this.trials.value = [];
    this.planned.value = 0;
  }
}
