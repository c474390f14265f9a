/** What the page needs from outside: the engine's API and the list of systems. Tests pass their own. */
import { loadSystem, readSystem, type SystemHandle } from "../../engine/api";
import { type Catalog, readCatalog } from "../model/catalog";

/** Everything that the page asks of the outside. */
export interface Backend {
  /** The systems that are served beside the page. */
  readCatalog(signal?: AbortSignal): Promise<Catalog>;
  readonly readSystem: typeof readSystem;
  readonly loadSystem: (...args: Parameters<typeof loadSystem>) => Promise<SystemHandle>;
}

/** The backend of the shipped page. */
export const engineBackend: Backend = {
  readCatalog: (signal) => readCatalog("systems/index.json", signal),
  readSystem,
  loadSystem: (url, options) => loadSystem(url, options),
};
