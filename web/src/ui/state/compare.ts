/** The same question in every mode, one after the other. */
import { signal } from "@preact/signals";
import type { Mode } from "../../engine/api";
import { MODES } from "../../formats/generated/names";
import { NOTHING_YET, type Progress, progressReader } from "../model/progress";
import type { Asked, Recording } from "../model/recording";
import { Job, type RunOne } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

/** One mode's run. */
export interface Lane {
  readonly mode: Mode;
  readonly state: "waiting" | "running" | "done" | "stopped";
  readonly progress: Progress;
  /** Present once the run is done. */
  readonly recording: Recording | undefined;
}

/** The lanes before anything runs. */
export const WAITING: readonly Lane[] = MODES.map(({ name }) => ({
  mode: name,
  state: "waiting",
  progress: NOTHING_YET,
  recording: undefined,
}));

export class Compare {
  readonly job: ReadOnly<Job>;
  /** Empty before the first comparison. */
  readonly lanes = signal<readonly Lane[]>([]);
  /** What the lanes answer. */
  readonly asked = signal<Asked | undefined>(undefined);

  constructor(session: Session) {
    this.job = new Job(session);
  }

  async start(asked: Asked): Promise<void> {
    this.asked.value = asked;
    this.lanes.value = WAITING;
    const outcome = await this.job.start(async (run) => {
      for (const { name } of MODES) await this.#run(run, name, asked);
    });
    if (outcome === "done") return;
    this.lanes.value = this.lanes.value.map((lane) =>
      lane.state === "done" ? lane : { ...lane, state: "stopped" },
    );
  }

  clear(): void {
    this.job.drop();
    this.lanes.value = [];
  }

  async #run(run: RunOne, mode: Mode, asked: Asked): Promise<void> {
    const options = { ...asked.options, mode, trace: { lensTopK: 5 } };
    const at = progressReader();
    this.#change(mode, { state: "running" });
    const { events, result } = await run(options, (some) =>
      this.#change(mode, { progress: at(some, some.length) }),
    );
    const recording = { ...asked, options, events, result };
    this.#change(mode, { state: "done", progress: at(events, events.length), recording });
  }

  #change(mode: Mode, patch: Partial<Lane>): void {
    this.lanes.value = this.lanes.value.map((lane) => (lane.mode === mode ? { ...lane, ...patch } : lane));
  }
}
