/** The same question through every mode, one after the other. */
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Mode, RunEvent } from "../../engine/api";
import { advance, NOTHING_YET, type Progress, type TimedEvent } from "../model/progress";
import type { Asked, Recording } from "../model/recording";
import type { Session } from "./session";

/** One mode's run. */
export interface Lane {
  readonly mode: Mode;
  readonly state: "waiting" | "running" | "done" | "stopped";
  readonly progress: Progress;
  /** When it is done. */
  readonly recording: Recording | undefined;
}

export const COMPARED: readonly Mode[] = ["latent", "text", "loop", "single"];

export class Compare {
  readonly #lanes = signal<readonly Lane[]>([]);
  readonly #running = signal(false);
  readonly #asked = signal<Asked | undefined>(undefined);
  #controller = new AbortController();

  constructor(private readonly session: Session) {}

  /** Empty before the first comparison. */
  get lanes(): ReadonlySignal<readonly Lane[]> {
    return this.#lanes;
  }
  get running(): ReadonlySignal<boolean> {
    return this.#running;
  }
  /** What the lanes answer. */
  get asked(): ReadonlySignal<Asked | undefined> {
    return this.#asked;
  }

  async start(asked: Asked): Promise<void> {
    const controller = new AbortController();
    this.#controller = controller;
    this.#asked.value = asked;
    this.#lanes.value = COMPARED.map((mode) => ({
      mode,
      state: "waiting",
      progress: NOTHING_YET,
      recording: undefined,
    }));
    this.#running.value = true;
    try {
      for (const mode of COMPARED) await this.#run(mode, asked, controller.signal);
    } catch {
      // The session shows the problem.
      this.#lanes.value = this.#lanes.value.map((lane) =>
        lane.state === "done" ? lane : { ...lane, state: "stopped" },
      );
    } finally {
      this.#running.value = false;
    }
  }

  cancel(): void {
    this.#controller.abort();
  }

  clear(): void {
    this.cancel();
    this.#lanes.value = [];
  }

  async #run(mode: Mode, asked: Asked, aborted: AbortSignal): Promise<void> {
    const options = { ...asked.options, mode };
    const events: TimedEvent[] = [];
    const began = performance.now();
    let progress = NOTHING_YET;
    this.#change(mode, { state: "running" });
    let scheduled = 0;
    const onEvent = (event: RunEvent): void => {
      const timed = { at: performance.now() - began, event };
      events.push(timed);
      progress = advance(progress, timed);
      // Many events may arrive between two frames of the screen; one drawing is enough.
      scheduled ||= requestAnimationFrame(() => {
        scheduled = 0;
        this.#change(mode, { progress });
      });
    };
    const traced = { ...options, trace: { lensTopK: 5 } };
    try {
      const result = await this.session.run(traced, { signal: aborted, onEvent });
      this.#change(mode, {
        state: "done",
        progress,
        recording: { ...asked, options: traced, events, result },
      });
    } finally {
      cancelAnimationFrame(scheduled);
    }
  }

  #change(mode: Mode, patch: Partial<Lane>): void {
    this.#lanes.value = this.#lanes.value.map((lane) => (lane.mode === mode ? { ...lane, ...patch } : lane));
  }
}
