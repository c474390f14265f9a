/** Compares thoughts by their likely words, which works across agents with different vector spaces. */
import type { TokenProbability } from "../../engine/api";

/**
 * The overlap of two lists of likely words: Σ √(p·q) over the words in both, matched by their text. This is the
 * Bhattacharyya coefficient of the listed part: 1 for the same words with the same probabilities, 0 for no common word.
 */
export function likelyOverlap(a: readonly TokenProbability[], b: readonly TokenProbability[]): number {
  const other = new Map(b.map(({ text, probability }) => [text.trim(), probability]));
  const sum = a.reduce(
    (total, { text, probability }) => total + Math.sqrt(probability * (other.get(text.trim()) ?? 0)),
    0,
  );
  return Math.min(1, sum);
}
