/**
 * Whether an answer has what `decoding.answerRetry` asks for: a box, a choice or a block of Python.
 *
 * Source: docs/recursion.md, rule 5. core/recursivemas/system/completeness.py does the same, and the tests run
 * tests/fixtures/completeness_cases.json against both.
 */
import type { AnswerRetry } from "../formats/generated/types";

const BOXES = [/\\boxed\{([^{}]+)\}/g, /\\boxed\{([^\n]*)\}/g];
const FINAL = /final\s*(?:choice|answer)\s*:\s*([^\n]+)/giu;
const NAMED = /(?:choice|option|answer)\s*[:-]?\s*[([]?\s*([A-D])(?![\p{L}\p{N}_])/iu;
const LETTER_FIRST = /^[([]?\s*([A-D])(?:\s*[)\]:.-]|$)/iu;
const THOUGHT = /<think>[\s\S]*?<\/think>/giu;
const PYTHON = /```python\s*([\s\S]*?)```/iu;

export function isComplete(answer: string, needs: AnswerRetry["needs"]): boolean {
  switch (needs) {
    case "box":
      return boxed(answer) !== undefined;
    case "choice":
      return namesChoice(answer);
    case "code":
      return (PYTHON.exec(answer.replace(THOUGHT, ""))?.[1] ?? "").trim() !== "";
  }
}

/** What stands in the last `\boxed{…}`; one with braces in it counts if there is no other. */
function boxed(text: string): string | undefined {
  return BOXES.map((box) => [...text.matchAll(box)].at(-1)?.[1]?.trim()).find((found) => found !== undefined);
}

/** Whether an answer names a letter from A to D: in its box, else after 'Final answer:', else anywhere. */
function namesChoice(text: string): boolean {
  const final = [...text.matchAll(FINAL)].at(-1)?.[1];
  return [boxed(text), final, text].some((candidate) => {
    const stripped = (candidate ?? "").trim();
    return NAMED.test(stripped) || LETTER_FIRST.test(stripped);
  });
}
