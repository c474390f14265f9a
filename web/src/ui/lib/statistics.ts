/** The uncertainty of a measured share. */

/**
 * The Wilson score interval of a proportion.
 *
 * Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209–212.
 *
 * @param right - successes.
 * @param of - trials; 0 gives [0, 1].
 * @param z - normal quantile; 1.96 for 95 %.
 */
export function wilson(right: number, of: number, z = 1.96): readonly [low: number, high: number] {
  if (of === 0) return [0, 1];
  const share = right / of;
  const spread = z * Math.sqrt((share * (1 - share)) / of + (z * z) / (4 * of * of));
  const scale = 1 + (z * z) / of;
  const centre = share + (z * z) / (2 * of);
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)];
}
