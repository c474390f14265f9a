/** What the engine keeps in the browser's Cache Storage: opening it, listing it, deleting from it. */
import type { FileSpec } from "./system";

const CACHE_NAME = "recursivemas-files";
/** Entries need a URL: this and the file's sha256. Nothing is ever fetched from it. */
export const CACHE_URL = "https://files.recursivemas.invalid/";

/** For people: the first system that brought the file, and where it lay there. */
const OWNER = "x-recursivemas-system";
const PATH = "x-recursivemas-path";
const SIZE = "content-length";

/** A file that is kept in this browser. */
export interface KeptFile {
  /** Followed by `.part` when these are only its first bytes, of a download that broke off. */
  readonly sha256: string;
  /** Name of the system that brought it; files are shared by all systems that list the same content. */
  readonly system: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** Opens the browser's cache; undefined where it has none, or none is wanted. */
export async function openCache(wanted: boolean): Promise<Cache | undefined> {
  if (!wanted || typeof caches === "undefined") return undefined;
  return await caches.open(CACHE_NAME).catch(() => undefined);
}

/** Where the first bytes of a file are kept whose download broke off; they are not verified yet. */
export function partUrl(file: FileSpec): string {
  return `${CACHE_URL}${file.sha256}.part`;
}

/** A file, or the first bytes of one, as the cache takes it. */
export function keptResponse(file: FileSpec, bytes: Uint8Array<ArrayBuffer>, owner = ""): Response {
  const headers = { [OWNER]: owner, [PATH]: encodeURI(file.path), [SIZE]: String(bytes.byteLength) };
  return new Response(bytes, { headers });
}

/** @returns every file that is kept, by system and path; empty where the browser keeps none. */
export async function keptFiles(): Promise<readonly KeptFile[]> {
  const cache = await openCache(true);
  if (!cache) return [];
  const requests = await cache.keys();
  const files = await Promise.all(
    requests.map(async ({ url }): Promise<KeptFile> => {
      const headers = (await cache.match(url))?.headers;
      return {
        sha256: url.slice(CACHE_URL.length),
        system: headers?.get(OWNER) ?? "",
        path: decodeURI(headers?.get(PATH) ?? ""),
        sizeBytes: Number(headers?.get(SIZE) ?? 0),
      };
    }),
  );
  return files.sort((a, b) => a.system.localeCompare(b.system) || a.path.localeCompare(b.path));
}

/** Deletes kept files; what is loaded on the GPU stays there. */
export async function forgetFiles(files: readonly Pick<KeptFile, "sha256">[]): Promise<void> {
  const cache = await openCache(true);
  await Promise.all(files.map(({ sha256 }) => cache?.delete(CACHE_URL + sha256)));
}
