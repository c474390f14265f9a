/**
 * Whether an answer is right, as the system's task says.
 *
 * The twin of training/recursivemas/training/tasks/scoring.py; tests/fixtures/scoring_cases.json is run against both.
 * Deviation: numbers are compared as float64, not as decimals.
 */

/** How a task compares answers. */
export type Scoring = "exact" | "numeric" | "choice";

/** What is known of the right answer. */
export interface RightAnswer {
  readonly answer: string;
  readonly choices?: readonly string[] | undefined;
}

const NUMBER = String.raw`(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?`;
const GROUP = String.raw`\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\d)`;
// A number or a fraction; or, in no named group, what is no number: a root, pi, a power, a quotient or fraction of such.
// An exponent or index of a letter is passed over; degrees and ordinals are no powers.
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
 * @param scoring - `exact` compares normalised text, `numeric` the last number (text where the right answer is none),
 *   `choice` the named choice.
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

/** Case, surrounding punctuation and runs of spaces do not matter. */
function normalise(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .trim()
    .replace(/^[.!]+|[.!]+$/g, "")
    .toLowerCase();
}

/** What the last complete `\boxed{}` holds, braces within it included. */
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
 * The last number of a text, fractions and thousands separators allowed; what `\boxed{}` holds comes first. Undefined
 * when there is none, or when the last term is no rational number, such as a root.
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
 * Index of the choice a text names: its text, else its letter (A is the first); the last one named counts.
 *
 * A letter names one only alone, in brackets or after `answer is` or `answer:`; elsewhere `A` and `I` are words.
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
