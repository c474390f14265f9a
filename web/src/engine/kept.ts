/** The files that the engine keeps in the browser's Cache Storage: opens, lists and deletes them. */
import { decoded } from "./local-files";
import { CACHE_MS, within } from "./patience";
import type { FileSpec } from "./system";

const CACHE_NAME = "recursivemas-files";
/** The URL of an entry is this and the file's sha256. Nothing is ever fetched from it. */
export const CACHE_URL = "https://files.recursivemas.invalid/";

/** Headers for people to read: the system that first brought the file, and the file's path in it. */
const OWNER = "x-recursivemas-system";
const PATH = "x-recursivemas-path";
const SIZE = "content-length";

/** A file that is kept in this browser. */
export interface KeptFile {
  /** Ends in `.part` if only the first bytes of the file are kept, from a download that broke off. */
  readonly sha256: string;
  /** The system that first brought the file. All systems that list the same content share it. */
  readonly system: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** Opens the browser's cache; undefined if the browser has none or cannot open it, or none is wanted. */
export async function openCache(wanted: boolean): Promise<Cache | undefined> {
  if (!wanted) return undefined;
  try {
    return await fromCache(caches.open(CACHE_NAME));
  } catch {
    return undefined;
  }
}

/** The browser's cache does not answer. */
export class SilentCache extends Error {}

/** Waits for the browser's cache, but not for ever. @throws SilentCache */
export function fromCache<T>(answer: Promise<T>): Promise<T> {
  return within(CACHE_MS, answer, () => new SilentCache("the browser's cache does not answer"));
}

/** The URL under which the unverified first bytes of a file are kept after its download broke off. */
export function partUrl(file: FileSpec): string {
  return `${CACHE_URL}${file.sha256}.part`;
}

/** Packs a file, or its first bytes, for the cache. */
export function keptResponse(file: FileSpec, bytes: Uint8Array<ArrayBuffer>, owner = ""): Response {
  const headers = { [OWNER]: owner, [PATH]: encodeURI(file.path), [SIZE]: String(bytes.byteLength) };
  return new Response(bytes, { headers });
}

/** @returns every kept file, sorted by system and path; empty if the browser has no cache, or one that cannot be read. */
export async function keptFiles(): Promise<readonly KeptFile[]> {
  const cache = await openCache(true);
  if (!cache) return [];
  const requests = await fromCache(cache.keys()).catch(() => []);
  const files = await Promise.all(
    requests.map(async ({ url }): Promise<KeptFile> => {
      const headers = (await fromCache(cache.match(url)).catch(() => undefined))?.headers;
      return {
        sha256: url.slice(CACHE_URL.length),
        system: headers?.get(OWNER) ?? "",
        path: decoded(headers?.get(PATH) ?? ""),
        sizeBytes: Math.max(0, Number(headers?.get(SIZE)) || 0),
      };
    }),
  );
  return files.sort((a, b) => a.system.localeCompare(b.system) || a.path.localeCompare(b.path));
}

/** Deletes kept files. Loaded systems stay loaded. */
export async function forgetFiles(files: readonly Pick<KeptFile, "sha256">[]): Promise<void> {
  const cache = await openCache(true);
  await Promise.all(files.map(({ sha256 }) => cache?.delete(CACHE_URL + sha256)));
}
