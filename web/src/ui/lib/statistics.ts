/** The uncertainty of a measured share. */

/** The normal quantile for 95 %. */
const z = 1.96;

/**
 * The Wilson score interval of a proportion, at 95 %.
 *
 * Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209–212.
 *
 * @param right - successes.
 * @param of - trials; 0 gives [0, 1].
 */
export function wilson(right: number, of: number): readonly [low: number, high: number] {
  if (of === 0) return [0, 1];
  const share = right / of;
  const spread = z * Math.sqrt((share * (1 - share)) / of + (z * z) / (4 * of * of));
  const scale = 1 + (z * z) / of;
  const centre = share + (z * z) / (2 * of);
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)];
}
