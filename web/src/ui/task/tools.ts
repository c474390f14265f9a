/** The tool calls in an answer: `<calculator> 6 * 5 </calculator> <result> 30 </result>` (docs/recursion.md, rule 8). */
import { TOOL_NAMES } from "../../formats/generated/names";

/** A piece of an answer. */
export type AnswerPiece =
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "call";
      readonly tool: string;
      readonly input: string;
      /** undefined until it arrives. */
      readonly result: string | undefined;
    };

/** Other tags stay text. */
const CALL = new RegExp(
  String.raw`<(${TOOL_NAMES.join("|")})>(.*?)</\1>(?:\s*<result>(.*?)</result>)?`,
  "gs",
);

/** @returns the pieces of text and the calls, in order. */
export function splitAnswer(answer: string): AnswerPiece[] {
  const pieces: AnswerPiece[] = [];
  let end = 0;
  const addText = (text: string): void => {
    if (text.trim() !== "") pieces.push({ kind: "text", text });
  };
  for (const match of answer.matchAll(CALL)) {
    addText(answer.slice(end, match.index));
    const [whole, tool = "", input = "", result] = match;
    pieces.push({ kind: "call", tool, input: input.trim(), result: result?.trim() });
    end = match.index + whole.length;
  }
  addText(answer.slice(end));
  return pieces;
}

/** @returns the answer without its tool calls; if nothing is left, the result of the last call. */
export function spokenAnswer(answer: string): string {
  const pieces = splitAnswer(answer);
  const spoken = pieces.flatMap((piece) => (piece.kind === "text" ? [piece.text.trim()] : []));
  if (spoken.length > 0) return spoken.join(" ");
  const last = pieces.at(-1);
  return last?.kind === "call" ? (last.result ?? "") : "";
}
