/** What an edge is worth: the same run again without what the edge carries. */
import { signal } from "@preact/signals";
import type { HandoffSummary, RunOptions, TaskQuestion } from "../../engine/api";
import { askInstead } from "../model/fields";
import { likelyOverlap } from "../model/likely";
import type { Recording } from "../model/recording";
import { Job } from "./job";
import type { ReadOnly } from "./read-only";
import type { Session } from "./session";

/** What replaces an edge's thoughts. */
export type Instead =
  | { readonly kind: "nothing" }
  | { readonly kind: "zeros" }
  /** What the same edge carried for another question. */
  | { readonly kind: "other"; readonly question: TaskQuestion };

/** A run without the thoughts of one edge. */
export interface Cut {
  readonly edge: string;
  readonly recording: Recording;
  /** Thoughts whose likeliest word differs from the one in the whole run. */
  readonly changed: number;
  readonly of: number;
  /** Mean overlap of the thoughts' likely words with those of the whole run, 0…1. */
  readonly overlap: number;
}

export class Ablate {
  readonly job: ReadOnly<Job>;
  readonly cuts = signal<readonly Cut[]>([]);
  /** The run that the cuts belong to. */
  readonly whole = signal<Recording | undefined>(undefined);
  /** The edge that is being cut right now. */
  readonly edge = signal<string | undefined>(undefined);

  constructor(session: Session) {
    this.job = new Job(session);
  }

  /**
   * @param whole - a finished run of the loaded system.
   * @param edges - are cut one at a time.
   */
  async start(whole: Recording, edges: readonly string[], instead: Instead): Promise<void> {
    this.cuts.value = [];
    this.whole.value = whole;
    this.edge.value = edges[0];
    await this.job.start(async (run) => {
      const source = sourceOptions(whole, instead);
      const other = source && (await run({ ...source, trace: { handoffs: true } }));
      for (const edge of edges) {
        this.edge.value = edge;
        const options = {
          ...cutOptions(whole, edge, instead, other?.result.handoffs),
          trace: { lensTopK: 5 },
        };
        const cut = { ...whole, options, ...(await run(options)) };
        this.cuts.value = [...this.cuts.value, { edge, recording: cut, ...difference(whole, cut) }];
      }
    });
    this.edge.value = undefined;
  }

  clear(): void {
    this.job.drop();
    this.cuts.value = [];
  }
}

/** What `Ablate.start` will run, in order, as far as it is known before the first run ends. */
export function plannedCuts(whole: Recording, edges: readonly string[], instead: Instead): RunOptions[] {
  const source = sourceOptions(whole, instead);
  return [...(source ? [source] : []), ...edges.map((edge) => cutOptions(whole, edge, instead))];
}

/** @returns the run that has the thoughts of another question; undefined if none are needed. */
function sourceOptions(whole: Recording, instead: Instead): RunOptions | undefined {
  if (instead.kind !== "other") return undefined;
  return { ...whole.options, ...askInstead(instead.question, whole.options) };
}

/** @param other - the hand-offs of the run of `sourceOptions`. */
function cutOptions(
  whole: Recording,
  edge: string,
  instead: Instead,
  other: readonly HandoffSummary[] = [],
): RunOptions {
  // As many rounds as the whole run took, so that the runs can be compared turn by turn.
  const { earlyStopping: _, ...same } = whole.options;
  const rounds = whole.result?.earlyStop ? { rounds: whole.result.rounds } : {};
  return { ...same, ...rounds, ...changesOf(whole, edge, instead, other) };
}

function changesOf(
  whole: Recording,
  edge: string,
  instead: Instead,
  other: readonly HandoffSummary[],
): Pick<RunOptions, "edges" | "replace"> {
  if (instead.kind === "nothing") return { edges: (whole.options.edges ?? []).filter((id) => id !== edge) };
  if (instead.kind === "zeros") return { replace: { ...whole.options.replace, [edge]: "zeros" } };
  const kept = other.flatMap((handoff) => (handoff.edge === edge && handoff.states ? [handoff.states] : []));
  return kept.length > 0 ? { replace: { ...whole.options.replace, [edge]: kept } } : {};
}

/** Compares the thoughts of two runs, each with the one at the same place. */
function difference(whole: Recording, cut: Recording): Pick<Cut, "changed" | "of" | "overlap"> {
  const pairs = (whole.result?.turns ?? []).flatMap((turn, index) => {
    const other = cut.result?.turns[index]?.lens ?? [];
    return (turn.lens ?? []).flatMap((likely, step) => {
      const twin = other[step];
      return twin ? [{ likely, twin }] : [];
    });
  });
  const changed = pairs.filter(({ likely, twin }) => likely[0]?.tokenId !== twin[0]?.tokenId).length;
  const sum = pairs.reduce((total, { likely, twin }) => total + likelyOverlap(likely, twin), 0);
  return { changed, of: pairs.length, overlap: pairs.length === 0 ? 1 : sum / pairs.length };
}
