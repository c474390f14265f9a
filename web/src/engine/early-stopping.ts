/**
 * Early stopping: a run ends when what it hands back has stopped changing.
 *
 * Source: docs/recursion.md, rule 10; training/recursivemas/training/early_stopping.py is the reference.
 */
import type { EarlyStop, Matrix } from "./types";

/** The least cosine of two hand-offs on one edge, (M, D) each, over their positions; 0 for a row of zeros. */
export function similarity(now: Matrix, before: Matrix): number {
  if (now.rows !== before.rows || now.columns !== before.columns) return 0;
  const cosines = Array.from({ length: now.rows }, (_, row) => {
    let [dot, a, b] = [0, 0, 0];
    for (let i = row * now.columns; i < (row + 1) * now.columns; i++) {
      const [x, y] = [now.data[i] ?? 0, before.data[i] ?? 0];
      dot += x * y;
      a += x * x;
      b += y * y;
    }
    const lengths = Math.sqrt(a) * Math.sqrt(b);
    return lengths === 0 ? 0 : Math.max(-1, Math.min(1, dot / lengths));
  });
  return Math.min(...cosines);
}

/** Compares what each round hands back with what the round before did. */
export class Change {
  readonly #before = new Map<string, Matrix>();
  /** By edge id, in the present round. */
  readonly #alike = new Map<string, number>();

  /**
   * @param edges - the ids of the run's feedback edges.
   * @param threshold - the similarity at which a round is the last one.
   */
  constructor(
    private readonly edges: readonly string[],
    private readonly threshold: number,
  ) {}

  /** Whether a hand-off on this edge counts. */
  watches(edge: string): boolean {
    return this.edges.includes(edge);
  }

  /** Takes in a hand-off. @returns its similarity to that of the round before, if there was one. */
  compare(edge: string, now: Matrix): number | undefined {
    const before = this.#before.get(edge);
    this.#before.set(edge, now);
    if (!before) return undefined;
    const value = similarity(now, before);
    this.#alike.set(edge, value);
    return value;
  }

  /** To be asked once a round, after all of its hand-offs. @returns where the run ends; undefined if it goes on. */
  endsIn(round: number): EarlyStop | undefined {
    const values = this.edges.map((edge) => this.#alike.get(edge) ?? Number.NaN);
    this.#alike.clear();
    const least = Math.min(...values);
    return values.length > 0 && least >= this.threshold ? { round, similarity: least } : undefined;
  }
}
