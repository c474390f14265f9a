/** The task's questions, as `rmas build` puts them beside the manifest. */
import * as v from "valibot";
import { describeIssues } from "./describe";
import { EngineError } from "./errors";
import type { TaskQuestion } from "./types";

/** Loose: training may keep more beside a question. */
const questionsSchema = v.array(
  v.object({
    question: v.string(),
    answer: v.string(),
    choices: v.optional(v.array(v.string())),
    group: v.optional(v.string()),
  }),
);

/** @throws EngineError `bad-manifest`. */
export function parseQuestions(text: string): readonly TaskQuestion[] {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new EngineError(
      "bad-manifest",
      `questions: not valid JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
  const parsed = v.safeParse(questionsSchema, data);
  if (!parsed.success) throw new EngineError("bad-manifest", `questions: ${describeIssues(parsed.issues)}`);
  return parsed.output;
}
