/** Gives up on what may never answer. */

/** How long a connection may bring nothing before it counts as broken. */
export const STALL_MS = 30_000;
/** How long the browser may take to open a graphics card. */
export const GPU_MS = 60_000;
/** How long agents may take to stop once they are told to; a step of a large model on a slow card takes a few seconds. */
export const STOP_MS = 30_000;
/** How long the browser's cache may take for an entry. Without an answer, files come from the network. */
export const CACHE_MS = 30_000;

/**
 * Waits for a promise, but not for ever. What it waited for is not stopped.
 *
 * @param late - makes the error for a promise that has not settled after `ms`.
 */
export function within<T>(ms: number, promise: Promise<T>, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
