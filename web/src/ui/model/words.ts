/** Tells systems of real language models from tiny agents that know one puzzle. */
import type { System } from "../../engine/api";
import type { Catalog, CatalogEntry } from "./catalog";

/** A language model has tens of thousands of tokens; agents that were made for a puzzle have hundreds. */
const VOCABULARY = 5000;
/** Files of a language model are larger than this, those of tiny agents are smaller. */
const LARGE_BYTES = 60e6;

/** Whether the agent that answers has words. */
export function hasWords({ agents }: Pick<System, "agents">): boolean {
  return (agents.at(-1)?.vocabSize ?? 0) >= VOCABULARY;
}

/** The first system of the list that is large, as systems of language models are; none of that name. */
export function firstLarge(catalog: Catalog, name?: string): CatalogEntry | undefined {
  return catalog.find((entry) => entry.sizeBytes >= LARGE_BYTES && entry.name !== name);
}

/** The first system of the list that is small, as tiny agents are; none of that name. */
export function firstSmall(catalog: Catalog, name?: string): CatalogEntry | undefined {
  return catalog.find((entry) => entry.sizeBytes < LARGE_BYTES && entry.name !== name);
}
