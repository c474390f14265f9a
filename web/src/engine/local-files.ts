/** Reads a folder on the visitor's machine as if a server served it. */
import type { Fetch } from "./download";
import type { LocalFiles } from "./types";

/** The status text of the answer for a file that a folder lacks. */
export const NOT_IN_FOLDER = "Not in the folder";

/**
 * @param files - by path relative to the manifest's folder.
 * @param manifest - an absolute URL that stands for the manifest. Nothing is ever fetched from it.
 */
export function fetchLocal(files: LocalFiles, manifest: string): Fetch {
  const base = new URL(".", manifest).href;
  return async (url) => {
    const file = url.startsWith(base) ? files.get(decoded(url.slice(base.length))) : undefined;
    return file ? new Response(file) : new Response(null, { status: 404, statusText: NOT_IN_FOLDER });
  };
}

/** @returns a path as it was before it became a part of a URL; a path that never was one stays as it is. */
export function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
