import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isComplete } from "../../src/engine/completeness";
import type { AnswerRetry } from "../../src/formats/generated/types";

const path = new URL("../../../tests/fixtures/completeness_cases.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")) as readonly {
  readonly needs: AnswerRetry["needs"];
  readonly answer: string;
  readonly complete: boolean;
}[];

test.each(cases)(
  "$needs of $answer as in tests/fixtures/completeness_cases.json",
  ({ needs, answer, complete }) => {
    expect(isComplete(answer, needs)).toBe(complete);
  },
);
