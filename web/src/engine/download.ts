/** Fetches files; an error says which file could not be fetched, and why. */
import { EngineError } from "./errors";

/** `fetch`, or what tests use instead. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

/**
 * @returns a response with an `ok` status.
 * @throws EngineError `download`, or `cancelled` if the signal fired.
 */
export async function fetchOk(url: string, init: RequestInit, fetcher: Fetch): Promise<Response> {
  let response: Response;
  try {
    response = await fetcher(url, init);
  } catch (error) {
    throw networkError(url, error, init.signal);
  }
  return checkOk(url, response);
}

/** @throws EngineError `download`, caused by the response, unless the status is an `ok` one. */
export function checkOk(url: string, response: Response): Response {
  if (response.ok) return response;
  throw new EngineError(
    "download",
    `${url}: the server answered ${response.status} ${response.statusText}`.trim(),
    response,
  );
}

/** Waits until the time is over, the network is back, or the signal fires. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const settled = new AbortController();
    const done = (): void => {
      clearTimeout(timer);
      settled.abort();
      resolve();
    };
    const timer = setTimeout(done, ms);
    const once = { once: true, signal: settled.signal };
    globalThis.addEventListener?.("online", done, once);
    signal?.addEventListener("abort", done, once);
    if (signal?.aborted) done();
  });
}

/** The error for a failed fetch or an interrupted body. */
export function networkError(
  url: string,
  error: unknown,
  signal: AbortSignal | null | undefined,
): EngineError {
  if (signal?.aborted) return new EngineError("cancelled", "cancelled while downloading", error);
  const reason = error instanceof Error ? error.message : String(error);
  return new EngineError(
    "download",
    `${url}: could not be fetched (${reason}); is the server reachable?`,
    error,
  );
}

/** Fetches a small file, and always asks the server whether it has changed. */
export async function fetchBytes(
  url: string,
  signal?: AbortSignal,
  fetcher: Fetch = fetch,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetchOk(url, { cache: "no-cache", ...(signal ? { signal } : {}) }, fetcher);
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw networkError(url, error, signal);
  }
}
