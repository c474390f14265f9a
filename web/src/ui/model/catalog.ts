/** `systems/index.json`: the systems that lie beside the page. */
import { EngineError, fetchBytes } from "../../engine/api";
import { FormatError } from "../../formats/errors";
import { parseFile } from "../../formats/format";
import type { IndexEntry } from "../../formats/generated/types";
import { SYSTEMS_INDEX } from "../../formats/generated/validators";

/** A system of the list. */
export interface CatalogEntry extends Omit<IndexEntry, "path"> {
  /** Of its `system.json`, absolute. */
  readonly url: string;
}

export type Catalog = readonly CatalogEntry[];

/** The page could not read the list of systems. */
export class CatalogError extends Error {}

/** No system has the name or address that was asked for. */
export class UnknownSystemError extends Error {
  /** Names of the systems that the list has. */
  readonly names: readonly string[];

  /** @param asked - the name or address. */
  constructor(
    readonly asked: string,
    catalog: Catalog,
  ) {
    super(`no system is at '${asked}'`);
    this.names = catalog.map(({ name }) => name);
  }
}

/**
 * @param text - content of the list.
 * @param url - its absolute URL, which paths are relative to.
 * @throws CatalogError if the text breaks the format.
 */
export function parseCatalog(text: string, url: string): Catalog {
  try {
    const { systems } = parseFile(text, url, SYSTEMS_INDEX);
    return systems.map(({ path, ...entry }) => ({ ...entry, url: new URL(path, url).href }));
  } catch (error) {
    throw error instanceof FormatError ? new CatalogError(error.message) : error;
  }
}

/**
 * @param path - relative to the page.
 * @throws CatalogError
 */
export async function readCatalog(path: string, signal?: AbortSignal): Promise<Catalog> {
  const url = new URL(path, document.baseURI).href;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await fetchBytes(url, signal);
  } catch (error) {
    throw new CatalogError(EngineError.from(error).message);
  }
  return parseCatalog(new TextDecoder().decode(bytes), url);
}
