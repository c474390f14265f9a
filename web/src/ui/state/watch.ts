/** The run in view: live while it lasts, then replayed at will. */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import type { RunEvent } from "../../engine/api";
import { NOTHING_YET, type Progress, progressReader, type TimedEvent } from "../model/progress";
import type { Asked, Recording } from "../model/recording";
import { Job } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

/** How long a replayed event lasts at tempo 1, slow enough to follow by eye. */
const BEAT_MS: Record<RunEvent["kind"], number> = {
  "turn-start": 160,
  step: 340,
  token: 240,
  handoff: 420,
  "turn-end": 60,
};

/** The thought that the visitor selected. */
export interface Selection {
  /** Index of the turn. */
  readonly turn: number;
  readonly step: number;
}

export class Watch {
  readonly job: ReadOnly<Job>;
  readonly recording = signal<Recording | undefined>(undefined);
  /** How many events of the recording are shown. */
  readonly frame = signal(0);
  readonly playing = signal(false);
  readonly selection = signal<Selection | undefined>(undefined);
  readonly tempo = signal(1);
  readonly progress: ReadonlySignal<Progress>;
  /** What was asked in a run that failed halfway. */
  #interrupted: Asked | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(session: Session) {
    this.job = new Job(session);
    const at = progressReader();
    this.progress = computed(() => {
      const recording = this.recording.value;
      return recording ? at(recording.events, this.frame.value) : NOTHING_YET;
    });
  }

  /** Runs a question and keeps everything that can be inspected. Never rejects. */
  async start(asked: Asked): Promise<void> {
    this.pause();
    this.#interrupted = undefined;
    this.selection.value = undefined;
    const before = this.recording.value;
    const options = { ...asked.options, trace: { handoffs: true, thoughts: true, lensTopK: 5 } };
    const outcome = await this.job.start(async (run) => {
      this.#show({ ...asked, events: [], result: undefined });
      const ended = await run(options, (events) => this.#show({ ...asked, events, result: undefined }));
      this.#show({ ...asked, ...ended });
    });
    if (outcome === "failed") this.#interrupted = asked;
    // A run that is refused before it begins takes nothing away.
    if (outcome === "failed" && this.recording.value?.events.length === 0) this.#show(before);
  }

  /** Repeats a run that failed halfway; to be called once the agents are loaded again. */
  async resume(): Promise<void> {
    if (this.#interrupted) await this.start(this.#interrupted);
  }

  /** Shows a recording from elsewhere, such as a saved run. */
  open(recording: Recording): void {
    this.pause();
    this.selection.value = undefined;
    this.#show(recording);
  }

  clear(): void {
    this.job.drop();
    this.pause();
    this.#interrupted = undefined;
    this.selection.value = undefined;
    this.#show(undefined);
  }

  select(selection: Selection | undefined): void {
    this.selection.value = selection;
  }

  setTempo(tempo: number): void {
    this.tempo.value = tempo;
  }

  /** Shows the first `frame` events. */
  seek(frame: number): void {
    const length = this.recording.value?.events.length ?? 0;
    this.frame.value = Math.max(0, Math.min(length, frame));
  }

  /**
   * Replays from here, or from the beginning if there is nothing left to show.
   *
   * @param end - events after the first `end` are not replayed. Default: all are.
   */
  play(end?: number): void {
    const events = this.recording.value?.events.slice(0, end);
    if (!events || this.job.running.value) return;
    const left = events.length - this.frame.value;
    if (left < 0 || (left === 0 && end === undefined)) this.frame.value = 0;
    this.playing.value = true;
    this.#beat(events);
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.playing.value = false;
  }

  /** Shows all of a recording. */
  #show(recording: Recording | undefined): void {
    batch(() => {
      this.recording.value = recording;
      this.frame.value = recording?.events.length ?? 0;
    });
  }

  #beat(events: readonly TimedEvent[]): void {
    clearTimeout(this.#timer);
    const next = events[this.frame.value];
    if (!next) {
      this.pause();
      return;
    }
    this.frame.value += 1;
    this.#timer = setTimeout(() => this.#beat(events), BEAT_MS[next.event.kind] / this.tempo.value);
  }
}
