/** What a number field takes of what was typed. */

/** Which numbers are meant. */
export interface Wanted {
  /** Default: any. */
  readonly min?: number;
  readonly max?: number;
  /** No fractions. */
  readonly whole: boolean;
}

/** @returns undefined when the text is no such number; engines refuse halves of steps and tokens. */
export function accepted(text: string, wanted: Wanted): number | undefined {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, whole } = wanted;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  return value >= min && value <= max && (!whole || Number.isInteger(value)) ? value : undefined;
}
