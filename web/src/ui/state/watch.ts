/** The run in view: live while it goes, then replayed at will. */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import type { RunEvent } from "../../engine/api";
import { NOTHING_YET, type Progress, progressReader, type TimedEvent } from "../model/progress";
import type { Asked, Recording } from "../model/recording";
import type { Session } from "./session";

/** Time a replayed event takes at tempo 1, so that the eye can follow. */
const BEAT_MS: Record<RunEvent["kind"], number> = {
  "turn-start": 160,
  step: 340,
  token: 240,
  handoff: 420,
  "turn-end": 60,
};

/** A thought that was pointed at. */
export interface Selection {
  /** Index of the turn. */
  readonly turn: number;
  readonly step: number;
}

export class Watch {
  readonly #recording = signal<Recording | undefined>(undefined);
  readonly #frame = signal(0);
  readonly #playing = signal(false);
  readonly #live = signal(false);
  readonly #selection = signal<Selection | undefined>(undefined);
  readonly progress: ReadonlySignal<Progress>;
  readonly tempo = signal(1);
  #controller: AbortController | undefined;
  /** What was asked when the agents went away. */
  #interrupted: Asked | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly session: Session) {
    const at = progressReader();
    this.progress = computed(() => {
      const recording = this.#recording.value;
      return recording ? at(recording.events, this.#frame.value) : NOTHING_YET;
    });
  }

  get recording(): ReadonlySignal<Recording | undefined> {
    return this.#recording;
  }
  /** How many events of the recording are shown. */
  get frame(): ReadonlySignal<number> {
    return this.#frame;
  }
  get playing(): ReadonlySignal<boolean> {
    return this.#playing;
  }
  /** Whether the run goes on right now. */
  get live(): ReadonlySignal<boolean> {
    return this.#live;
  }
  get selection(): ReadonlySignal<Selection | undefined> {
    return this.#selection;
  }

  /** Runs a question with everything that can be looked into. Resolves in the end whatever happens. */
  async start(asked: Asked): Promise<void> {
    this.pause();
    const controller = new AbortController();
    this.#controller = controller;
    this.#interrupted = undefined;
    const options = { ...asked.options, trace: { handoffs: true, thoughts: true, lensTopK: 5 } };
    const events: TimedEvent[] = [];
    const began = performance.now();
    const show = (): void => {
      this.#recording.value = { ...asked, events: [...events], result: undefined };
      this.#frame.value = events.length;
    };
    batch(() => {
      this.#live.value = true;
      this.#selection.value = undefined;
      show();
    });
    let scheduled = 0;
    const onEvent = (event: RunEvent): void => {
      events.push({ at: performance.now() - began, event });
      // Many events may arrive between two frames of the screen; one drawing is enough.
      scheduled ||= requestAnimationFrame(() => {
        scheduled = 0;
        batch(show);
      });
    };
    try {
      const result = await this.session.run(options, { signal: controller.signal, onEvent });
      cancelAnimationFrame(scheduled);
      batch(() => {
        this.#recording.value = { ...asked, events, result };
        this.#frame.value = events.length;
      });
    } catch {
      // The session shows the problem; what was seen of the run stays, unless it was cleared away.
      cancelAnimationFrame(scheduled);
      if (this.#controller !== controller) return;
      batch(show);
      if (!controller.signal.aborted) this.#interrupted = asked;
    } finally {
      this.#live.value = false;
    }
  }

  cancel(): void {
    this.#controller?.abort();
  }

  /** Runs again what failed in the middle, once the agents are there again. */
  async resume(): Promise<void> {
    const asked = this.#interrupted;
    if (asked && this.session.phase.value === "ready") await this.start(asked);
  }

  /** Shows a recording from elsewhere, such as an opened trace. */
  open(recording: Recording): void {
    this.pause();
    batch(() => {
      this.#recording.value = recording;
      this.#frame.value = recording.events.length;
      this.#selection.value = undefined;
    });
  }

  clear(): void {
    this.cancel();
    this.#controller = undefined;
    this.pause();
    batch(() => {
      this.#interrupted = undefined;
      this.#recording.value = undefined;
      this.#frame.value = 0;
      this.#selection.value = undefined;
    });
  }

  select(selection: Selection | undefined): void {
    this.#selection.value = selection;
  }

  /** Shows the first `frame` events. */
  seek(frame: number): void {
    const length = this.#recording.value?.events.length ?? 0;
    this.#frame.value = Math.max(0, Math.min(length, frame));
  }

  /** Replays from here, or from the beginning when all was shown. */
  play(): void {
    const events = this.#recording.value?.events;
    if (!events || this.#live.value) return;
    if (this.#frame.value >= events.length) this.#frame.value = 0;
    this.#playing.value = true;
    this.#beat(events);
  }

  /** Replays up to a moment, from the beginning when that has passed. */
  playUntil(frame: number): void {
    const events = this.#recording.value?.events;
    if (!events || this.#live.value) return;
    const end = Math.min(frame, events.length);
    if (this.#frame.value > end) this.#frame.value = 0;
    this.#playing.value = true;
    this.#beat(events.slice(0, end));
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.#playing.value = false;
  }

  #beat(events: readonly TimedEvent[]): void {
    clearTimeout(this.#timer);
    const next = events[this.#frame.value];
    if (!next) {
      this.pause();
      return;
    }
    this.#frame.value += 1;
    this.#timer = setTimeout(() => this.#beat(events), BEAT_MS[next.event.kind] / this.tempo.value);
  }
}
