/**
 * Decides whether an answer is right, as the system's task says.
 *
 * The counterpart of training/recursivemas/training/tasks/scoring.py; both are tested with tests/fixtures/scoring_cases.json.
 * Deviation: numbers are compared as float64, not as decimals.
 */

import type { Scoring } from "../../formats/generated/names";

/** The right answer. */
export interface RightAnswer {
  readonly answer: string;
  readonly choices?: readonly string[] | undefined;
}

const NUMBER = String.raw`(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?`;
const GROUP = String.raw`\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\d)`;
// Matches a number or a fraction in named groups, and other terms in none: roots, pi, powers and quotients of these.
// The exponent or index of a letter is ignored; degrees and ordinals are not powers.
const TERM = new RegExp(
  [
    String.raw`(?:${NUMBER})?\s*(?:\\?sqrt(?:\[[^\]]*\])?(?:${GROUP}|\s*\([^()]*\))|√\s*\(?(?:${NUMBER})?|\\pi|π)`,
    String.raw`${NUMBER}\s*\^(?!\s*\{\s*(?:\\|[a-z]{2}))(?:${GROUP}|[-+]?\d+)`,
    String.raw`(?<index>(?<=[A-Za-z)}\]])[\^_](?:\{[^{}]*\}|[-+]?\d+))`,
    String.raw`(?<sign>(?<![\w.)}\]])[-+])?(?:` +
      String.raw`(?<whole>${NUMBER})?\s*\\[dt]?frac(?:` +
      String.raw`\s*\{\s*(?<top>[-+]?${NUMBER})\s*\}\s*\{\s*(?<bottom>[-+]?${NUMBER})\s*\}` +
      String.raw`|(?<digits>\d\d)|${GROUP}${GROUP})` +
      String.raw`|(?<number>${NUMBER})(?:\s*/\s*(?<divisor>${NUMBER}))?)`,
    String.raw`/\s*${NUMBER}`,
  ].join("|"),
  "g",
);
const BRACE = /(?:\\boxed)?\{|\}/g;
const ALONE = /^[\W_]*([A-Z])[\W_]*$/;
const LETTER =
  /[([{]\s*([A-Z])\s*[)\]}]|\b(?:[Aa]nswer|ANSWER)\s*(?:is|IS|:)[^A-Za-z0-9]*(?:(?:option|choice)\s+)?([A-Z])(?![A-Za-z0-9'’])/g;

/**
 * @param answer - what the system wrote.
 * @param scoring - `exact` compares normalised text, `numeric` the last number (or text, if the right answer is no
 *   number), `choice` the named choice.
 */
export function isRight(answer: string, right: RightAnswer, scoring: Scoring): boolean {
  if (scoring === "numeric") {
    const wanted = lastNumber(right.answer);
    if (wanted !== undefined) return lastNumber(answer) === wanted;
    return normalise(boxed(answer) || answer) === normalise(boxed(right.answer) || right.answer);
  }
  if (scoring === "choice" && right.choices && right.choices.length > 0) {
    const wanted = chosen(right.answer, right.choices);
    return wanted !== undefined && chosen(answer, right.choices) === wanted;
  }
  return normalise(answer) === normalise(right.answer);
}

/** Removes what does not matter: case, surrounding punctuation and repeated spaces. */
function normalise(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .trim()
    .replace(/^[.!]+|[.!]+$/g, "")
    .toLowerCase();
}

/** The content of the last complete `\boxed{}`, including inner braces. */
function boxed(text: string): string | undefined {
  let begin = 0;
  let end = 0;
  const opened: number[] = [];
  for (const { 0: brace, index } of text.matchAll(BRACE)) {
    if (brace !== "}") {
      opened.push(brace.length > 1 ? index + brace.length : 0);
      continue;
    }
    const inside = opened.pop() ?? 0;
    if (inside > begin) [begin, end] = [inside, index];
  }
  return begin > 0 ? text.slice(begin, end) : undefined;
}

/**
 * The last number of a text, which may be a fraction or have thousands separators. The content of `\boxed{}` takes
 * precedence. undefined if there is no number, or if the last term is not rational, such as a root.
 */
function lastNumber(text: string): number | undefined {
  const terms = [...(boxed(text) ?? text).replace(/\s+/g, " ").matchAll(TERM)].filter(
    ({ groups }) => groups?.index === undefined,
  );
  const { number, divisor, top, bottom, digits, whole, sign } = terms.at(-1)?.groups ?? {};
  const above = number ?? top ?? digits?.[0];
  if (above === undefined) return undefined;
  const below = number === undefined ? (bottom ?? digits?.[1] ?? "1") : (divisor ?? "1");
  const value = decimal(whole ?? "0") + decimal(above) / decimal(below);
  if (!Number.isFinite(value)) return undefined;
  return sign === "-" ? 0 - value : value;
}

function decimal(text: string): number {
  return Number(text.replaceAll(",", "").replace(/\.+$/, ""));
}

/**
 * The index of the choice that a text names, by the choice's text or its letter (A is the first). The last one counts.
 *
 * A letter counts only alone, in brackets, or after `answer is` or `answer:`; elsewhere `A` and `I` are words.
 */
function chosen(text: string, choices: readonly string[]): number | undefined {
  const plain = normalise(text);
  const exact = choices.findIndex((choice) => normalise(choice) === plain);
  if (exact >= 0) return exact;
  const alone = ALONE.exec(text);
  const namedBy = alone ? [alone] : [...text.matchAll(LETTER)];
  const letters = namedBy.map((match) => (match[1] ?? match[2] ?? "").charCodeAt(0) - "A".charCodeAt(0));
  const valid = letters.filter((index) => index < choices.length);
  if (valid.length > 0) return valid.at(-1);
  const places = choices.map((choice) => plain.lastIndexOf(normalise(choice)));
  const last = Math.max(...places);
  return last < 0 ? undefined : places.indexOf(last);
}
