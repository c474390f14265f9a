/** Comparing what thoughts read, across agents whose vector spaces have nothing in common. */
import type { TokenProbability } from "../../engine/api";

/**
 * Overlap of two lists of likely words: Σ √(p·q) over the words in both, by their text (Bhattacharyya coefficient of the
 * listed part). 1: the same words as likely; 0: no word in common.
 */
export function likelyOverlap(a: readonly TokenProbability[], b: readonly TokenProbability[]): number {
  const other = new Map(b.map(({ text, probability }) => [text.trim(), probability]));
  const sum = a.reduce(
    (total, { text, probability }) => total + Math.sqrt(probability * (other.get(text.trim()) ?? 0)),
    0,
  );
  return Math.min(1, sum);
}
