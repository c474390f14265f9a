/**
 * The KV cache of a model on the GPU. The agents that share the model have a sequence each, in one pool of pages.
 *
 * The agent that takes its turn may fill the pool. The other agents' sequences keep the beginnings of their prompts as
 * long as there is room, so that they need not compute them again. The cache of a single agent is only as large as the
 * agent's turns need: a planner needs a fraction of the context window.
 */
import { EngineError } from "./errors";
import type { KvFunctions } from "./library";
import type { Runtime, TvmObject } from "./runtime";

/** Positions per page, as in MLC's runtimes. */
export const PAGE_SIZE = 16;

/** A cache grows by so many positions, because it is empty then. */
const GROWTH = 256;

/** A sequence: how many positions it has, and how many of them are worth keeping after the turn. */
interface Sequence {
  length: number;
  worth: number;
}

export class KvCache {
  readonly #sequences = new Map<number, Sequence>();
  #handle: TvmObject | undefined;
  /** Positions that all sequences together may have. */
  #positions = 0;

  /**
   * @param create - makes the runtime's cache for a number of positions.
   * @param most - positions that a sequence may ever have.
   * @param sequences - how many there are.
   */
  constructor(
    private readonly runtime: Runtime,
    private readonly functions: KvFunctions,
    private readonly create: (positions: number) => TvmObject,
    private readonly most: number,
    private readonly sequences: number,
  ) {}

  /** The runtime's cache. */
  get handle(): TvmObject {
    if (!this.#handle) throw new EngineError("internal", "the KV cache is used before a turn has begun");
    return this.#handle;
  }

  /** Makes the cache large enough for a turn of so many positions. A cache that grows loses what it has. */
  reserve(positions: number): void {
    const wanted =
      this.sequences > 1 ? this.most : Math.min(this.most, Math.ceil(positions / GROWTH) * GROWTH);
    if (wanted <= this.#positions) return;
    if (this.#handle) this.runtime.free(this.#handle);
    this.#sequences.clear();
    this.#handle = this.runtime.scoped(() => this.runtime.keep(this.create(wanted)));
    this.#positions = wanted;
  }

  /** How many positions a sequence has. */
  length(id: number): number {
    return this.#sequences.get(id)?.length ?? 0;
  }

  /**
   * Begins a turn on a sequence, cut back to its first positions. The other sequences lose what is not worth keeping.
   *
   * @param length - positions to keep, which the sequence must have.
   * @param worth - positions that are worth keeping after the turn.
   */
  begin(id: number, length: number, worth: number): void {
    for (const [other, sequence] of this.#sequences)
      this.#cut(other, other === id ? length : Math.min(sequence.length, sequence.worth));
    if (!this.#sequences.has(id)) {
      this.runtime.scoped(() => this.functions.addSequence(this.handle, this.runtime.int(id)));
      this.#sequences.set(id, { length: 0, worth });
    }
    const sequence = this.#sequences.get(id);
    if (sequence) sequence.worth = worth;
  }

  /** Adds positions to a sequence: runs a forward call between the runtime's calls around it, in the current scope. */
  extend<T>(id: number, positions: number, forward: () => T): T {
    const { runtime, functions, handle } = this;
    const sequence = this.#sequences.get(id) as Sequence;
    this.#makeRoom(id, sequence.length + positions);
    functions.beginForward(handle, runtime.shape([id]), runtime.shape([positions]));
    // The positions are taken, even if the call fails.
    sequence.length += positions;
    const result = forward();
    functions.endForward(handle);
    return result;
  }

  /** Drops other sequences if a sequence could not be so long beside them. */
  #makeRoom(id: number, length: number): void {
    const others = [...this.#sequences].filter(([other]) => other !== id);
    let pages = others.reduce((sum, [, each]) => sum + pagesOf(each.length), pagesOf(length));
    for (const [other, { length: freed }] of others) {
      if (pages <= pagesOf(this.#positions)) return;
      this.#cut(other, 0);
      pages -= pagesOf(freed);
    }
    if (pages > pagesOf(this.#positions))
      throw new EngineError(
        "internal",
        `a turn needs ${length} positions, its KV cache has ${this.#positions}`,
      );
  }

  #cut(id: number, length: number): void {
    const sequence = this.#sequences.get(id);
    if (!sequence || sequence.length === length) return;
    const { runtime, functions, handle } = this;
    const name = runtime.int(id);
    runtime.scoped(() => {
      if (length === 0) functions.removeSequence(handle, name);
      else functions.popPositions(handle, name, runtime.int(sequence.length - length));
    });
    sequence.length = length;
    if (length === 0) this.#sequences.delete(id);
  }
}

const pagesOf = (positions: number): number => Math.ceil(positions / PAGE_SIZE);
