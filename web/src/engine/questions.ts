/** The task's questions, as `rmas build` puts them beside the manifest. */
import type { QuestionRecord } from "../formats/generated/types";
import { QUESTIONS } from "../formats/generated/validators";
import { parseFileAs } from "./parse";

/** @throws EngineError `bad-manifest`. */
export function parseQuestions(text: string): readonly QuestionRecord[] {
  return parseFileAs("bad-manifest", text, "the file of questions", QUESTIONS);
}
