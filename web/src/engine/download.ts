/** Fetches files; an error says which file could not be fetched, and why. */
import { reasonOf } from "../formats/errors";
import { EngineError } from "./errors";
import { decoded, NOT_IN_FOLDER } from "./local-files";
import { STALL_MS, within } from "./patience";

/** `fetch`, or what tests use instead. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

const stalled = (): Error => new Error(`nothing arrived for ${STALL_MS / 1000} seconds`);

/**
 * Waits for a response no longer than a stalled connection deserves. The request ends then.
 *
 * @throws whatever `fetcher` throws, or an Error if the server does not answer.
 */
export async function fetchSoon(url: string, init: RequestInit, fetcher: Fetch): Promise<Response> {
  const late = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
  try {
    return await within(STALL_MS, fetcher(url, { ...init, signal }), stalled);
  } catch (error) {
    late.abort();
    throw error;
  }
}

/**
 * @returns the body as it arrives.
 * @throws Error if the connection breaks, or brings nothing for a while.
 */
export async function* pieces(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const read = (): ReturnType<typeof reader.read> => within(STALL_MS, reader.read(), stalled);
  try {
    for (let next = await read(); !next.done; next = await read()) yield next.value;
  } finally {
    // This stops the download if the reader left early, and does nothing if the body has ended. A stalled body may
    // never confirm it.
    void reader.cancel().catch(() => {});
  }
}

/**
 * @returns a response with an `ok` status.
 * @throws EngineError `download`, or `cancelled` if the signal fired.
 */
export async function fetchOk(url: string, init: RequestInit, fetcher: Fetch): Promise<Response> {
  let response: Response;
  try {
    response = await fetchSoon(url, init, fetcher);
  } catch (error) {
    throw networkError(url, error, init.signal);
  }
  return checkOk(url, response);
}

/** @throws EngineError `download`, caused by the response, unless the status is an `ok` one. */
export function checkOk(url: string, response: Response): Response {
  if (response.ok) return response;
  if (response.statusText === NOT_IN_FOLDER) {
    const path = decoded(new URL(url).pathname.slice(1));
    throw new EngineError(
      "download",
      `${path} is not in the folder; open the whole folder that 'rmas build' made`,
      response,
    );
  }
  const answer = `${url}: the server answered ${response.status} ${response.statusText}`.trim();
  const meaning = meaningOf(response.status);
  throw new EngineError("download", meaning ? `${answer}; ${meaning}` : answer, response);
}

/** What an HTTP status says about a file, and what to do. */
function meaningOf(status: number): string | undefined {
  if (status === 401 || status === 403) return "it does not let everybody read this file: make it public";
  if (status === 404 || status === 410)
    return "the file is not there: check the address, or upload the file again";
  if (status === 429) return "too many requests came from here: wait a few minutes and try again";
  if (status >= 500) return "the server itself has a problem: try again later";
  return undefined;
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
  const reason = reasonOf(error);
  return new EngineError(
    "download",
    `${url}: could not be fetched (${reason}); is the server reachable?`,
    error,
  );
}

/** Fetches a small file, and always asks the server whether it has changed. A broken connection gets a second try. */
export async function fetchBytes(
  url: string,
  signal?: AbortSignal,
  fetcher: Fetch = fetch,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await fetchOnce(url, signal, fetcher);
  } catch (error) {
    const answered = error instanceof EngineError && error.cause instanceof Response;
    if (answered || signal?.aborted) throw error;
    return await fetchOnce(url, signal, fetcher);
  }
}

/**
 * Fetches a file that somebody else wrote: it reads no more than is allowed, and keeps nothing.
 *
 * @param mostBytes - a longer file is refused, however long it is.
 * @param onBytes - called with how many bytes have arrived.
 * @throws EngineError `download`, or `cancelled` if the signal fired.
 */
export async function fetchAtMost(
  url: string,
  mostBytes: number,
  signal?: AbortSignal,
  onBytes: (bytes: number) => void = () => {},
  fetcher: Fetch = fetch,
): Promise<Uint8Array<ArrayBuffer>> {
  const strangers: RequestInit = { cache: "no-cache", credentials: "omit", referrerPolicy: "no-referrer" };
  const response = await fetchOk(url, { ...strangers, ...(signal ? { signal } : {}) }, fetcher);
  const parts: BlobPart[] = [];
  let bytes = 0;
  try {
    for await (const piece of pieces(response)) {
      bytes += piece.byteLength;
      if (bytes > mostBytes) break;
      parts.push(piece as Uint8Array<ArrayBuffer>);
      onBytes(bytes);
    }
  } catch (error) {
    throw networkError(url, error, signal);
  }
  if (bytes > mostBytes)
    throw new EngineError("download", `${url}: is longer than ${mostBytes} bytes, so it was not read`);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function fetchOnce(
  url: string,
  signal: AbortSignal | undefined,
  fetcher: Fetch,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetchOk(url, { cache: "no-cache", ...(signal ? { signal } : {}) }, fetcher);
  try {
    const parts: BlobPart[] = [];
    for await (const piece of pieces(response)) parts.push(piece as Uint8Array<ArrayBuffer>);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  } catch (error) {
    throw networkError(url, error, signal);
  }
}
