/**
 * Samples from the likeliest tokens on the CPU, if a run keeps only some of them.
 *
 * Source: docs/recursion.md, rule 5; `Sampler` in training/recursivemas/training/rollout.py does the same. The order of
 * the cuts is that of transformers: temperature, top k, top p.
 */

/** Tokens beyond the k likeliest that are looked at, because those that are as likely as the last of the k stay, too. */
export const MOST_TIES = 16;

/**
 * @param probabilities - of the likeliest tokens, at least k, from the largest to the smallest; they need not sum to 1.
 * @param topK - k.
 * @param topP - keeps the fewest tokens that reach this share of their sum.
 * @param uniform - in [0, 1).
 * @returns the index of the sampled token.
 */
export function pickLikeliest(
  probabilities: ArrayLike<number>,
  topK: number,
  topP: number,
  uniform: number,
): number {
  const least = probabilities[topK - 1] ?? 0;
  const values = Array.from(probabilities).filter((value) => value >= least);
  const total = values.reduce((sum, value) => sum + value, 0);
  let kept = 0;
  let count = 0;
  while (count < values.length && (count === 0 || kept < topP * total)) kept += values[count++] ?? 0;
  let below = 0;
  for (let index = 0; index < count; index++) {
    below += values[index] ?? 0;
    if (uniform * kept < below) return index;
  }
  return count - 1;
}
