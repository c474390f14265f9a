/** Groups a run's vectors into spaces whose vectors can be compared. */
import type { RunResult } from "../../engine/api";
import { cosine, norm, pairwise, row } from "../lib/vectors";
import { likelyOverlap } from "./likely";
import type { SystemView } from "./system-view";

/** One thought, or one row of a hand-off. */
export interface Item {
  /** The agent that thought it or sent it. */
  readonly agent: string;
  readonly round: number;
  readonly step: number;
}

/** Items of one vector space, with their pairwise similarity. */
export interface Space {
  readonly id: string;
  readonly label: string;
  readonly items: readonly Item[];
  /** (items, items), row-major; from −1 to 1. */
  readonly similarity: readonly number[];
  /** The lengths of the vectors; undefined if the items are compared by their words. */
  readonly norms: readonly number[] | undefined;
}

/** A drawing of more items would be too fine to read. */
const MOST_ITEMS = 72;

interface Entry extends Item {
  readonly vector: Float32Array;
}

/**
 * Every agent has two vector spaces: its thoughts, taken after the final norm, and what arrives at it as input embeddings.
 * Across agents only the likely words of thoughts can be compared.
 */
export function spacesOf(system: SystemView, result: RunResult): Space[] {
  return [
    ...readings(result),
    ...system.agents.flatMap(({ id }) => [...thoughtsOf(id, result), ...arrivalsOf(id, result)]),
  ];
}

function readings(result: RunResult): Space[] {
  const entries = thin(
    result.turns.flatMap(({ agent, round, lens = [] }) =>
      lens.map((likely, step) => ({ agent, round, step, likely })),
    ),
  );
  if (entries.length < 2) return [];
  const similarity = pairwise(entries, (a, b) => likelyOverlap(a.likely, b.likely));
  return [
    {
      id: "readings",
      label: "all thoughts, by their likely words",
      items: entries,
      similarity,
      norms: undefined,
    },
  ];
}

function thoughtsOf(agent: string, result: RunResult): Space[] {
  const entries = result.turns
    .filter((turn) => turn.agent === agent)
    .flatMap(({ round, thoughts }) =>
      Array.from({ length: thoughts?.rows ?? 0 }, (_, step): Entry[] =>
        thoughts ? [{ agent, round, step, vector: row(thoughts, step) }] : [],
      ).flat(),
    );
  return vectorSpace(`thoughts/${agent}`, `thoughts of the ${agent}, by angle`, entries);
}

function arrivalsOf(agent: string, result: RunResult): Space[] {
  const entries = result.handoffs
    .filter(({ to }) => to === agent)
    .flatMap(({ from, round, states }) =>
      Array.from({ length: states?.rows ?? 0 }, (_, step): Entry[] =>
        states ? [{ agent: from, round, step, vector: row(states, step) }] : [],
      ).flat(),
    );
  return vectorSpace(`arrivals/${agent}`, `what reached the ${agent}, by angle`, entries);
}

function vectorSpace(id: string, label: string, all: readonly Entry[]): Space[] {
  if (all.length < 2) return [];
  const entries = thin(all);
  return [
    {
      id,
      label,
      items: entries,
      similarity: pairwise(entries, (a, b) => cosine(a.vector, b.vector)),
      norms: entries.map(({ vector }) => norm(vector)),
    },
  ];
}

/** Drops items evenly until no more than `MOST_ITEMS` are left. */
function thin<T>(items: readonly T[]): T[] {
  const every = Math.ceil(items.length / MOST_ITEMS);
  return items.filter((_, index) => index % every === 0);
}
