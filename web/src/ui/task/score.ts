/**
 * Decides whether an answer is right, as the system's task says.
 *
 * The counterpart of training/recursivemas/training/tasks/scoring.py; both are tested with tests/fixtures/scoring_cases.json.
 * Deviations: numbers are compared as float64, not as decimals; `math` knows only the same number or text.
 */

import { SCORINGS, type Scoring } from "../../formats/generated/names";

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
const TEXT_MACRO = /\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox) ?\{([^{}]*)\}/g;
const LAYOUT = /\\(?:left|right)(?![A-Za-z])|\\[,;:! ]|\\?\$/g;
const FRACTION = /\\[dt]frac(?![A-Za-z])/g;
const AROUND_SIGNS = / ?([-+*/=<>(){}[\],^_|\\:]) ?/g;
const ALONE = /^[\W_]*([A-Z])[\W_]*$/;
const ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split(" ");
const CARDINALS = "one two three four five six seven eight nine ten".split(" ");
// Regular expressions of older browsers have no flag for a part.
const anyCase = (words: readonly string[]): string =>
  words.map((word) => word.replace(/./g, (letter) => `[${letter}${letter.toUpperCase()}]`)).join("|");
const LETTER = new RegExp(
  [
    String.raw`[([{]\s*([A-Z])\s*[)\]}]`,
    String.raw`\b(?:[Aa]nswer|ANSWER)\s*(?:is|IS|:)[^A-Za-z0-9]*(?:(?:option|choice)\s+)?([A-Z])(?![A-Za-z0-9'’])`,
    String.raw`\b(?:[Oo]ption|[Cc]hoice)\s+[^A-Za-z0-9\s]{0,2}([A-Z])(?![A-Za-z0-9'’])`,
    String.raw`(?:^|\n)[^A-Za-z0-9\n]*([A-Z])[):]`,
    String.raw`\b([A-Z])\s+is\s+(?:the\s+)?(?:correct|right)\b`,
    String.raw`\b(${anyCase(ORDINALS)})\s+(?:option|choice|one)\b`,
    String.raw`\b(?:[Oo]ption|[Cc]hoice)\s+(?:number\s+)?(${anyCase(CARDINALS)})\b`,
  ].join("|"),
  "g",
);
const WORD_BEFORE = /[\p{L}\p{N}_]$/u;
const WORD_AFTER = /^[\p{L}\p{N}_]/u;

/** Whether the page compares answers in this way as `rmas eval` does; if not, it only recognises some right answers. */
export function isComplete(scoring: Scoring): boolean {
  return SCORINGS.some(({ name, complete }) => name === scoring && complete);
}

/**
 * @param answer - what the system wrote.
 * @param scoring - `exact` compares normalised text; `contains` looks for it in the answer; `numeric` compares the last
 *   number, `any_number` every number (text if the right answer is no number); `choice` compares the named choice;
 *   `math` compares the number or the text.
 */
export function isRight(answer: string, right: RightAnswer, scoring: Scoring): boolean {
  if (scoring === "choice" && right.choices && right.choices.length > 0) {
    const wanted = chosen(right.answer, right.choices);
    return wanted !== undefined && chosen(answer, right.choices) === wanted;
  }
  const wanted = lastNumber(right.answer);
  if (scoring === "any_number" && wanted !== undefined) return numbers(answer).includes(wanted);
  if (scoring === "contains" || scoring === "any_number")
    return lastPlace(normalise(answer), normalise(right.answer)) >= 0;
  if (scoring === "numeric" || scoring === "math") {
    if (plainExpression(answer) === plainExpression(right.answer)) return true;
    const comparable = scoring === "numeric" ? wanted !== undefined : isNumber(right.answer);
    return comparable && lastNumber(answer) === wanted;
  }
  return normalise(answer) === normalise(right.answer);
}

/** Whether a text is one number and nothing else. */
function isNumber(text: string): boolean {
  return new RegExp(`^\\s*[-+]?${NUMBER}\\s*$`).test(text);
}

/** Removes what does not matter: case, surrounding punctuation and repeated spaces. */
function normalise(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .trim()
    .replace(/^[.!]+|[.!]+$/g, "")
    .toLowerCase();
}

/** An expression, or that in its `\boxed{}`, without `\text`, `\left`, `$`, spaces at signs and other layout. */
function plainExpression(text: string): string {
  const bare = (boxed(text) || text).replace(/\s+/g, " ").replace(TEXT_MACRO, "$1").replace(LAYOUT, "");
  return normalise(bare.replace(/\s+/g, " ").replace(FRACTION, "\\frac").replace(AROUND_SIGNS, "$1"));
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
  return numbers(boxed(text) ?? text).at(-1);
}

/** Every term of a text; undefined for a term that is not rational. */
function numbers(text: string): readonly (number | undefined)[] {
  return [...text.replace(/\s+/g, " ").matchAll(TERM)]
    .filter(({ groups }) => groups?.index === undefined)
    .map(({ groups }) => rational(groups ?? {}));
}

function rational({
  number,
  divisor,
  top,
  bottom,
  digits,
  whole,
  sign,
}: Readonly<Record<string, string | undefined>>): number | undefined {
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

/** Where the last occurrence of `words` as whole words ends in a text; -1 if there is none. Both are normalised. */
function lastPlace(text: string, words: string): number {
  let begin = words === "" ? -1 : text.lastIndexOf(words);
  while (begin >= 0) {
    const end = begin + words.length;
    const joined =
      (WORD_AFTER.test(words) && WORD_BEFORE.test(text.slice(0, begin))) ||
      (WORD_BEFORE.test(words) && WORD_AFTER.test(text.slice(end)));
    if (!joined) return end;
    begin = begin === 0 ? -1 : text.lastIndexOf(words, begin - 1);
  }
  return -1;
}

/**
 * The index of the choice that a text names by the choice's text, letter (A is the first) or place. The last one counts.
 *
 * A letter counts only alone, in brackets, before a bracket or colon at the start of a line, after `option`, `answer is`
 * or `answer:`, or before `is correct`; elsewhere `A` and `I` are words. A place is as in `the second option` or
 * `option two`. The text of a choice counts as whole words, and only if no letter or place is named.
 */
function chosen(text: string, choices: readonly string[]): number | undefined {
  const plain = normalise(text);
  const exact = choices.findIndex((choice) => normalise(choice) === plain);
  if (exact >= 0) return exact;
  const alone = ALONE.exec(text);
  const namedBy = alone ? [alone] : [...text.matchAll(LETTER)];
  const places = namedBy.map((match) => placeOf(match.slice(1).find((each) => each !== undefined) ?? ""));
  const valid = places.filter((index) => index < choices.length);
  if (valid.length > 0) return valid.at(-1);
  let named: number | undefined;
  let last = -1;
  choices.forEach((choice, index) => {
    const end = lastPlace(plain, normalise(choice));
    // Of two choices that end at the same place, the longer one is named: `York` is part of `New York`.
    if (end < 0 || end < last || (end === last && choice.length <= (choices[named ?? 0]?.length ?? 0)))
      return;
    [named, last] = [index, end];
  });
  return named;
}

/** The index that a letter, or a word such as `second` or `two`, stands for. */
function placeOf(name: string): number {
  const word = name.toLowerCase();
  if (word.length === 1) return word.charCodeAt(0) - "a".charCodeAt(0);
  return Math.max(ORDINALS.indexOf(word), CARDINALS.indexOf(word));
}
