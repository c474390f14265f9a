/** Work on the loaded system that can be cancelled: one run, or many one after the other. */
import { signal } from "@preact/signals";
import type { RunOptions, RunResult } from "../../engine/api";
import type { TimedEvent } from "../model/progress";
import type { Session } from "./session";

/** One run of a job that ended. */
export interface JobRun {
  readonly events: readonly TimedEvent[];
  readonly result: RunResult;
}

/**
 * Runs one question.
 *
 * @param show - gets all events so far, at most once for each frame of the screen, and once more if the run breaks off.
 * @throws EngineError
 */
export type RunOne = (options: RunOptions, show?: (events: readonly TimedEvent[]) => void) => Promise<JobRun>;

export class Job {
  readonly running = signal(false);
  #controller: AbortController | undefined;

  constructor(private readonly session: Pick<Session, "run" | "fail">) {}

  /**
   * Does some work. A failure becomes the session's problem; a cancellation does not.
   *
   * @returns how it ended: `dropped` after `drop`.
   */
  async start(work: (run: RunOne) => Promise<void>): Promise<"done" | "cancelled" | "dropped" | "failed"> {
    const controller = new AbortController();
    this.#controller = controller;
    this.running.value = true;
    try {
      await work((options, show) => this.#run(controller, options, show));
      return "done";
    } catch (error) {
      this.session.fail(error);
      if (this.#controller !== controller) return "dropped";
      return controller.signal.aborted ? "cancelled" : "failed";
    } finally {
      this.running.value = false;
    }
  }

  cancel(): void {
    this.#controller?.abort();
  }

  /** Cancels, and shows nothing more of what was going on. */
  drop(): void {
    this.cancel();
    this.#controller = undefined;
  }

  async #run(
    controller: AbortController,
    options: RunOptions,
    show: (events: readonly TimedEvent[]) => void = () => {},
  ): Promise<JobRun> {
    const events: TimedEvent[] = [];
    const began = performance.now();
    let frame = 0;
    const { signal } = controller;
    const draw = (): void => {
      frame = 0;
      if (this.#controller === controller) show([...events]);
    };
    try {
      const result = await this.session.run(options, {
        signal,
        onEvent: (event) => {
          events.push({ at: performance.now() - began, event });
          // Many events may arrive between two frames of the screen; one drawing is enough.
          frame ||= requestAnimationFrame(draw);
        },
      });
      return { events, result };
    } catch (error) {
      draw();
      throw error;
    } finally {
      cancelAnimationFrame(frame);
    }
  }
}
