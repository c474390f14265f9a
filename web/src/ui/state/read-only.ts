/** Signals that only their owner writes. */
import type { ReadonlySignal, Signal } from "@preact/signals";

/** `T` as others see it: its signals can be read, not written. */
export type ReadOnly<T> = {
  readonly [K in keyof T]: T[K] extends Signal<infer V> ? ReadonlySignal<V> : T[K];
};
