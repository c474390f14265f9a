/** What an edge is worth: the same run without what it carries. */
import { type ReadonlySignal, signal } from "@preact/signals";
import type { HandoffSummary, RunOptions } from "../../engine/api";
import { likelyOverlap } from "../model/likely";
import type { Recording } from "../model/recording";
import type { Session } from "./session";

/** What takes the place of an edge's thoughts. */
export type Instead =
  | { readonly kind: "nothing" }
  | { readonly kind: "zeros" }
  /** What the same edge carried for another question. */
  | { readonly kind: "other"; readonly question: string };

/** A run with one edge's thoughts taken away. */
export interface Cut {
  readonly edge: string;
  readonly instead: Instead["kind"];
  readonly recording: Recording;
  /** Thoughts whose likeliest word is another than in the whole run. */
  readonly changed: number;
  readonly of: number;
  /** Mean overlap of what the thoughts read, 0…1. */
  readonly overlap: number;
}

export class Ablate {
  readonly #cuts = signal<readonly Cut[]>([]);
  readonly #whole = signal<Recording | undefined>(undefined);
  readonly #running = signal<string | undefined>(undefined);
  #controller = new AbortController();

  constructor(private readonly session: Session) {}

  get cuts(): ReadonlySignal<readonly Cut[]> {
    return this.#cuts;
  }
  /** The run that the cuts are of. */
  get whole(): ReadonlySignal<Recording | undefined> {
    return this.#whole;
  }
  /** The edge that is being cut right now. */
  get running(): ReadonlySignal<string | undefined> {
    return this.#running;
  }

  /**
   * @param whole - a finished run of the loaded system.
   * @param edges - to be cut, one at a time.
   */
  async start(whole: Recording, edges: readonly string[], instead: Instead): Promise<void> {
    this.#controller = new AbortController();
    const { signal: aborted } = this.#controller;
    this.#cuts.value = [];
    this.#whole.value = whole;
    try {
      this.#running.value = edges[0];
      const other =
        instead.kind === "other" ? await this.#handoffs(whole, instead.question, aborted) : undefined;
      for (const edge of edges) {
        this.#running.value = edge;
        const options = {
          ...whole.options,
          ...cutOptions(whole, edge, instead, other),
          trace: { lensTopK: 5 },
        };
        const result = await this.session.run(options, { signal: aborted });
        const events = result.turns.map((turn) => ({ at: 0, event: { kind: "turn-end" as const, ...turn } }));
        const cut = compare(whole, { ...whole, options, events, result });
        this.#cuts.value = [...this.#cuts.value, { edge, instead: instead.kind, ...cut }];
      }
    } catch {
      // The session shows the problem.
    } finally {
      this.#running.value = undefined;
    }
  }

  /** What every edge carried for another question. */
  async #handoffs(
    whole: Recording,
    question: string,
    aborted: AbortSignal,
  ): Promise<readonly HandoffSummary[]> {
    const options = { ...whole.options, question, trace: { handoffs: true } };
    return (await this.session.run(options, { signal: aborted })).handoffs;
  }

  cancel(): void {
    this.#controller.abort();
  }

  clear(): void {
    this.cancel();
    this.#cuts.value = [];
  }
}

function cutOptions(
  whole: Recording,
  edge: string,
  instead: Instead,
  other: readonly HandoffSummary[] = [],
): Pick<RunOptions, "edges" | "replace"> {
  if (instead.kind === "nothing") return { edges: (whole.options.edges ?? []).filter((id) => id !== edge) };
  if (instead.kind === "zeros") return { replace: { [edge]: "zeros" } };
  const kept = other.flatMap((handoff) => (handoff.edge === edge && handoff.states ? [handoff.states] : []));
  return kept.length > 0 ? { replace: { [edge]: kept } } : {};
}

function compare(whole: Recording, cut: Recording): Omit<Cut, "edge" | "instead"> {
  const pairs = (whole.result?.turns ?? []).flatMap((turn, index) => {
    const other = cut.result?.turns[index]?.lens ?? [];
    return (turn.lens ?? []).flatMap((likely, step) => {
      const twin = other[step];
      return twin ? [{ likely, twin }] : [];
    });
  });
  const changed = pairs.filter(({ likely, twin }) => likely[0]?.tokenId !== twin[0]?.tokenId).length;
  const sum = pairs.reduce((total, { likely, twin }) => total + likelyOverlap(likely, twin), 0);
  return {
    recording: cut,
    changed,
    of: pairs.length,
    overlap: pairs.length === 0 ? 1 : sum / pairs.length,
  };
}
