/** Fetching with a clear error: what could not be fetched, and why. */
import { EngineError } from "./errors";

/** Replaced in tests. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

/**
 * @returns a response with an `ok` status.
 * @throws EngineError `download`, or `cancelled` when the signal fired.
 */
export async function fetchOk(
  url: string,
  init: RequestInit = {},
  fetcher: Fetch = fetch,
): Promise<Response> {
  let response: Response;
  try {
    response = await fetcher(url, init);
  } catch (error) {
    throw networkError(url, error, init.signal);
  }
  if (!response.ok) {
    throw new EngineError(
      "download",
      `${url}: the server answered ${response.status} ${response.statusText}`.trim(),
    );
  }
  return response;
}

/** What a failed fetch or an interrupted body becomes. */
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

/** A small text file, always asked of the server anew. */
export async function fetchText(url: string, signal?: AbortSignal, fetcher: Fetch = fetch): Promise<string> {
  const response = await fetchOk(url, { cache: "no-cache", ...(signal ? { signal } : {}) }, fetcher);
  try {
    return await response.text();
  } catch (error) {
    throw networkError(url, error, signal);
  }
}
