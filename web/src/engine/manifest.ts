/** Fetches `system.json` once: what the page shows of a system and what the worker loads are the same bytes. */
import { sha256 } from "./digest";
import { fetchBytes } from "./download";
import { fetchLocal } from "./local-files";
import { parseSystem, type System } from "./system";
import type { LoadOptions, LocalFiles } from "./types";
import { variantFor } from "./variants";

/** Where the manifest is, and on which GPU the system will run. */
export interface ManifestSource {
  /** A folder to read instead of the network. */
  readonly files?: LocalFiles | undefined;
  readonly powerPreference?: LoadOptions["powerPreference"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a manifest in the variant for this GPU.
 *
 * @param url - absolute, of `system.json`.
 * @throws EngineError `download` or `bad-manifest`.
 */
export async function readManifest(
  url: string,
  { files, powerPreference, signal }: ManifestSource,
): Promise<System> {
  const bytes = await fetchBytes(url, signal, files && fetchLocal(files, url));
  const digest = await sha256(bytes);
  const whole = parseSystem(new TextDecoder().decode(bytes), url);
  return { ...(await variantFor(whole, navigator.gpu, powerPreference)), sha256: digest };
}
