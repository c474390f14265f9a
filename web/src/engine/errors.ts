/**
 * The engine's one error class. `code` says which kind it is and survives `postMessage`, where a class does not.
 */

import { oneLine, reasonOf } from "../formats/errors";

/** The kinds of failure. */
export type EngineErrorCode =
  /** The page is neither on https nor on localhost, so the browser withholds what the engine needs. */
  | "insecure-page"
  /** `navigator.gpu` is missing, or there is no adapter. */
  | "no-webgpu"
  /** The adapter lacks a feature the system needs (`shader-f16`). */
  | "missing-feature"
  /** The adapter's limits are too small for the system. */
  | "insufficient-limits"
  /** WebGPU refused a command; results since then are worthless. */
  | "gpu-validation"
  /** The GPU ran out of memory. */
  | "out-of-memory"
  /** The browser itself, not the GPU, has no memory left. */
  | "no-memory"
  /** The GPU process crashed, or the system took the device away. */
  | "device-lost"
  /** A file could not be fetched: offline, 404, … */
  | "download"
  /** A file's size or sha256 is not what the manifest says. */
  | "corrupt-file"
  /** `system.json`, a model's `_metadata` or `tensor-cache.json` breaks its schema. */
  | "bad-manifest"
  /** `recursivelink.json` breaks its schema, or its dimensions do not fit the agents. */
  | "bad-links"
  /** A model library does not load, lacks a function, or has another ABI version. */
  | "bad-library"
  /** A prompt template with an unbalanced brace, an unknown slot or a slot without an edge. */
  | "bad-prompt"
  /** Prompt, latent thoughts and answer do not fit the agent's context window. */
  | "context-overflow"
  /** An agent computed NaN or infinity, or the GPU gave a token id that the vocabulary lacks. */
  | "bad-numbers"
  /** Another device of the same system sent what it must not, or has other files. */
  | "bad-peer"
  /** An option of a run is out of range. */
  | "bad-option"
  /** The run, or the load, was cancelled by its `signal`. */
  | "cancelled"
  /** A run was asked for while another one is going on, or after `dispose`. */
  | "busy"
  /** A bug of this engine or of the runtime. */
  | "internal";

/** The part of an error that crosses `postMessage`. */
export interface WireError {
  readonly code: EngineErrorCode;
  readonly message: string;
  readonly stack?: string | undefined;
}

/** Says in one line what was expected, what came and how to mend it. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;

  /**
   * @param code - the kind of failure.
   * @param message - one line for people.
   * @param cause - the error that led to this one, if there is one.
   */
  constructor(code: EngineErrorCode, message: string, cause?: unknown) {
    super(oneLine(message), cause === undefined ? undefined : { cause });
    this.name = "EngineError";
    this.code = code;
  }

  /** The part that crosses `postMessage`. */
  toWire(): WireError {
    return { code: this.code, message: this.message, stack: this.stack };
  }

  /** Rebuilds an error on the other side of `postMessage`. */
  static fromWire(wire: WireError): EngineError {
    const error = new EngineError(wire.code, wire.message);
    if (wire.stack !== undefined) error.stack = wire.stack;
    return error;
  }

  /** Wraps whatever was thrown; returns an `EngineError` unchanged. */
  static from(thrown: unknown, code: EngineErrorCode = "internal"): EngineError {
    if (thrown instanceof EngineError) return thrown;
    if (isOutOfMemory(thrown))
      return new EngineError("no-memory", `the browser has no memory left (${reasonOf(thrown)})`, thrown);
    return new EngineError(ofGpu(thrown) ? "out-of-memory" : code, reasonOf(thrown), thrown);
  }
}

/** Whether it is WebGPU's own error for lack of memory, which is no `Error`. */
function ofGpu(thrown: unknown): boolean {
  return typeof GPUOutOfMemoryError !== "undefined" && thrown instanceof GPUOutOfMemoryError;
}

/** Whether JavaScript or WebAssembly could not allocate something. Browsers say so in their own words. */
export function isOutOfMemory(thrown: unknown): boolean {
  return thrown instanceof RangeError && /memory|allocat/i.test(thrown.message);
}

/** Throws `cancelled` if the signal has fired. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new EngineError("cancelled", "cancelled");
}
