/** Which texts a number field accepts. */

/** The numbers that a field accepts. */
export interface Wanted {
  /** Default: any. */
  readonly min?: number;
  readonly max?: number;
  /** Whether fractions are refused. */
  readonly whole: boolean;
}

/** @returns the number; undefined if the field does not accept the text. */
export function accepted(text: string, wanted: Wanted): number | undefined {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, whole } = wanted;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  return value >= min && value <= max && (!whole || Number.isInteger(value)) ? value : undefined;
}
