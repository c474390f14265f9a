import { EngineError } from "./errors";

/**
 * @returns the sha256 of some bytes, in lower-case hex.
 * @throws EngineError `insecure-page` where the browser withholds its cryptography.
 */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new EngineError(
      "insecure-page",
      "the browser checks files and opens the graphics card only for pages on https or localhost; open this page there",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
