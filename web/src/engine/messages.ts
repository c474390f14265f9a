/**
 * The protocol between page and worker. Every request gets one answer, `done` or `failed`, with the same `id`. Before
 * it, `progress` and `event` messages with that `id` may arrive.
 */
import type { WireError } from "./errors";
import type { System } from "./system";
import type {
  Counters,
  DeviceInfo,
  LiveCounts,
  LoadOptions,
  LoadProgress,
  RunEvent,
  RunOptions,
  RunResult,
  TaskQuestion,
  TurnRequest,
  TurnResult,
} from "./types";

/** The part of `LoadOptions` that is data. */
export type LoadSettings = Omit<LoadOptions, "signal" | "onProgress">;

/** What the page learns of a loaded system. */
export interface Loaded {
  readonly system: System;
  readonly device: DeviceInfo;
  readonly questions: readonly TaskQuestion[];
}

/** The parameters and the result of every request. */
export interface Methods {
  load: { params: { readonly url: string; readonly settings: LoadSettings }; result: Loaded };
  run: { params: RunOptions; result: RunResult };
  turn: { params: TurnRequest; result: TurnResult };
  paces: { params: null; result: Readonly<Record<string, number>> };
  counters: { params: null; result: Counters & LiveCounts };
  dispose: { params: null; result: Counters };
}

export type MethodName = keyof Methods;

/** Page → worker. `cancel` has the id of the request that it cancels, and no answer of its own. */
export type ToWorker =
  | {
      readonly [K in MethodName]: {
        readonly kind: K;
        readonly id: number;
        readonly params: Methods[K]["params"];
      };
    }[MethodName]
  | { readonly kind: "cancel"; readonly id: number };

/** Worker → page. `lost` answers no request: the device was lost. */
export type FromWorker =
  | { readonly kind: "progress"; readonly id: number; readonly progress: LoadProgress }
  | { readonly kind: "event"; readonly id: number; readonly event: RunEvent }
  | { readonly kind: "done"; readonly id: number; readonly result: Methods[MethodName]["result"] }
  | { readonly kind: "failed"; readonly id: number; readonly error: WireError }
  | { readonly kind: "lost"; readonly error: WireError };
