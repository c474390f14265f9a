/** A folder on the visitor's machine, read as if it were served: nothing else of the engine knows the difference. */
import type { Fetch } from "./download";
import type { LocalFiles } from "./types";

/**
 * @param files - by path relative to the manifest's folder.
 * @param manifest - absolute URL that stands for the manifest; nothing is ever fetched from it.
 */
export function fetchLocal(files: LocalFiles, manifest: string): Fetch {
  const base = new URL(".", manifest).href;
  return async (url) => {
    const file = url.startsWith(base) ? files.get(decodeURIComponent(url.slice(base.length))) : undefined;
    return file
      ? new Response(file)
      : new Response(null, { status: 404, statusText: "(it is not in the folder)" });
  };
}
