/** Free questions: each goes to the whole system in latent mode and to the deciding agent alone. */
import { signal } from "@preact/signals";
import type { Mode } from "../../engine/api";
import type { Fields } from "../model/fields";
import { NOTHING_YET, type Progress, progressReader, type TimedEvent } from "../model/progress";
import type { Asked, Recording } from "../model/recording";
import { Job, type RunOne } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

/** Who answers, in the order in which they run. */
export const VOICES = ["latent", "single"] as const satisfies readonly Mode[];
export type VoiceMode = (typeof VOICES)[number];

/** One of the two answers to a question. */
export interface Voice {
  readonly state: "waiting" | "running" | "done" | "stopped";
  readonly progress: Progress;
  readonly events: readonly TimedEvent[];
  /** Present once it is done. */
  readonly recording: Recording | undefined;
}

/** A question with its two answers. */
export interface Exchange {
  /** Counts from 1. */
  readonly number: number;
  readonly asked: Asked;
  readonly voices: Readonly<Record<VoiceMode, Voice>>;
}

const WAITING: Voice = { state: "waiting", progress: NOTHING_YET, events: [], recording: undefined };

export class Chat {
  readonly job: ReadOnly<Job>;
  /** Newest first. */
  readonly exchanges = signal<readonly Exchange[]>([]);
  /** The question that is being written. */
  readonly draft = signal("");
  /** What the agents are told beside it, by name of the column. */
  readonly fields = signal<Fields>({});
  #count = 0;

  constructor(session: Session) {
    this.job = new Job(session);
  }

  setDraft(text: string): void {
    this.draft.value = text;
  }

  setField(name: string, text: string): void {
    this.fields.value = { ...this.fields.value, [name]: text };
  }

  /** Asks both. Never rejects. */
  async ask(asked: Asked): Promise<void> {
    this.#count += 1;
    const number = this.#count;
    const voices = { latent: WAITING, single: WAITING };
    this.exchanges.value = [{ number, asked, voices }, ...this.exchanges.value];
    const outcome = await this.job.start(async (run) => {
      for (const mode of VOICES) await this.#run(run, mode, number, asked);
    });
    if (outcome === "done") return;
    for (const mode of VOICES)
      this.#change(number, mode, (voice) =>
        voice.state === "done" ? voice : { ...voice, state: "stopped" },
      );
  }

  clear(): void {
    this.job.drop();
    this.exchanges.value = [];
    this.fields.value = {};
  }

  async #run(run: RunOne, mode: VoiceMode, number: number, asked: Asked): Promise<void> {
    const options = { ...asked.options, mode, trace: { handoffs: true, thoughts: true, lensTopK: 5 } };
    const at = progressReader();
    const show = (state: Voice["state"], events: readonly TimedEvent[], recording?: Recording): void =>
      this.#change(number, mode, () => ({ state, events, progress: at(events, events.length), recording }));
    show("running", []);
    const { events, result } = await run({ ...options, lensEachStep: true }, (some) => show("running", some));
    show("done", events, { ...asked, options, events, result });
  }

  #change(number: number, mode: VoiceMode, change: (voice: Voice) => Voice): void {
    this.exchanges.value = this.exchanges.value.map((exchange) =>
      exchange.number === number
        ? { ...exchange, voices: { ...exchange.voices, [mode]: change(exchange.voices[mode]) } }
        : exchange,
    );
  }
}
