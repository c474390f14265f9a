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

const NUMBER = /[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/g;
const BOXED = /\\boxed\{([^{}]*)\}/g;
const LETTER = /(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])/g;

/**
 * @param answer - what the system wrote.
 * @param scoring - `exact` compares normalised text, `numeric` the last number, `choice` the named choice.
 */
export function isRight(answer: string, right: RightAnswer, scoring: Scoring): boolean {
  if (scoring === "numeric") {
    const wanted = lastNumber(right.answer);
    return wanted !== undefined && lastNumber(answer) === wanted;
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

/** The last number of a text, thousands separators allowed; what `\boxed{}` holds comes first. */
function lastNumber(text: string): number | undefined {
  const boxed = [...text.matchAll(BOXED)].at(-1)?.[1];
  const found = [...(boxed ?? text).matchAll(NUMBER)].at(-1)?.[0];
  if (found === undefined) return undefined;
  const value = Number(found.replaceAll(",", "").replace(/\.+$/, ""));
  return Number.isNaN(value) ? undefined : value;
}

/** Index of the choice a text names: its text, else its letter (A is the first); the last one named counts. */
function chosen(text: string, choices: readonly string[]): number | undefined {
  const plain = normalise(text);
  const exact = choices.findIndex((choice) => normalise(choice) === plain);
  if (exact >= 0) return exact;
  const letters = [...text.matchAll(LETTER)].map(
    (match) => (match[1] ?? "").charCodeAt(0) - "A".charCodeAt(0),
  );
  const valid = letters.filter((index) => index < choices.length);
  if (valid.length > 0) return valid.at(-1);
  const places = choices.map((choice) => plain.lastIndexOf(normalise(choice)));
  const last = Math.max(...places);
  return last < 0 ? undefined : places.indexOf(last);
}
