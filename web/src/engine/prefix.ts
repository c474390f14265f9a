/**
 * The positions that an agent's prompts begin with in every turn, which need not be computed twice.
 *
 * Source: docs/recursion.md, rule 3; `recursion.py` counts the same positions. Marks are the engine's own: numbers of
 * leading positions up to which an agent computes in calls of their own. What comes after a mark is then the same, bit
 * for bit, whether the positions before it were kept or computed again.
 */
import type { Filled } from "./prompt";

/** A shorter stretch costs less than another call for it: weights are read once in each call. */
const LEAST_STRETCH = 32;

/** An agent's prefixes in a run. */
export interface Prefix {
  /** Leading tokens that its first and its later prompts share. */
  readonly shared: number;
  /** Those of them that come before the question. */
  readonly beforeQuestion: number;
}

/** How many leading tokens are the same. */
export function commonLength(one: readonly number[], other: readonly number[]): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one[length] === other[length]) length += 1;
  return length;
}

/** The tokens before the first slot of a filled prompt. A slot ends them even if nothing arrives in it. */
export function leadingTokens(
  [first]: readonly Filled[],
  encode: (text: string) => number[],
): readonly number[] {
  return first?.kind === "text" ? encode(first.text) : [];
}

/**
 * @param first - the leading tokens of the first round's prompt.
 * @param later - those of the later rounds' prompt.
 * @param blank - those of the first round's prompt for a question without any text.
 */
export function prefixOf(
  first: readonly number[],
  later: readonly number[],
  blank: readonly number[],
): Prefix {
  const shared = commonLength(first, later);
  return { shared, beforeQuestion: Math.min(shared, commonLength(first, blank)) };
}

/**
 * Places the marks of a turn.
 *
 * @param positions - of the turn's prompt. The last one is always computed, because its hidden state is needed.
 * @param always - whether the shared prefix is marked however short it is.
 * @returns numbers of leading positions, ascending.
 */
export function marksOf({ shared, beforeQuestion }: Prefix, positions: number, always: boolean): number[] {
  const most = Math.min(shared, positions - 1);
  const marks: number[] = [];
  if (beforeQuestion >= LEAST_STRETCH && beforeQuestion < most) marks.push(beforeQuestion);
  if (most > 0 && (always || most - (marks.at(-1) ?? 0) >= LEAST_STRETCH)) marks.push(most);
  return marks;
}
