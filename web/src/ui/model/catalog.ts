/**
 * `systems/index.json`: which systems lie beside the page.
 *
 * Source: build/recursivemas/build/site.py, `systems_index`.
 */
import * as v from "valibot";

const entrySchema = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  description: v.string(),
  pattern: v.string(),
  path: v.pipe(
    v.string(),
    v.regex(/^[^/\\:?#][^\\:?#]*$/),
    v.check((path) => !path.split("/").includes("..")),
  ),
  size_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});

const catalogSchema = v.strictObject({
  format: v.literal("recursivemas.systems"),
  version: v.literal(1),
  systems: v.array(entrySchema),
});

/** One system of the list. */
export interface CatalogEntry {
  readonly name: string;
  readonly description: string;
  readonly pattern: string;
  /** Of its `system.json`, absolute. */
  readonly url: string;
  readonly sizeBytes: number;
}

export type Catalog = readonly CatalogEntry[];

/** The list of systems could not be had. */
export class CatalogError extends Error {}

/**
 * @param text - content of the list.
 * @param url - its absolute URL, which paths are relative to.
 * @throws CatalogError when the text breaks the format.
 */
export function parseCatalog(text: string, url: string): Catalog {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new CatalogError(`${url}: expected a list of systems in JSON, got something else`);
  }
  const version = typeof data === "object" && data !== null && "version" in data ? data.version : undefined;
  if (typeof version === "number" && version > 1) {
    throw new CatalogError(
      `${url}: list version ${version} is newer than this page's 1; reload the page or update it`,
    );
  }
  const parsed = v.safeParse(catalogSchema, data);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const where = issue.path?.map((item) => String(item.key)).join(".") ?? "top level";
    throw new CatalogError(`${url}: ${where}: ${issue.message}`);
  }
  return parsed.output.systems.map((entry) => ({
    name: entry.name,
    description: entry.description,
    pattern: entry.pattern,
    url: new URL(entry.path, url).href,
    sizeBytes: entry.size_bytes,
  }));
}

/**
 * @param path - relative to the page.
 * @throws CatalogError
 */
export async function readCatalog(path: string, signal?: AbortSignal): Promise<Catalog> {
  const url = new URL(path, document.baseURI).href;
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-cache", ...(signal ? { signal } : {}) });
  } catch {
    throw new CatalogError(`${url}: could not be fetched; is the server reachable?`);
  }
  if (!response.ok) throw new CatalogError(`${url}: the server answered ${response.status}`);
  return parseCatalog(await response.text(), url);
}
