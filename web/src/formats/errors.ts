/** Errors are shown in one line; what came from a file may be longer than anybody reads. */
const LONGEST_LINE = 1000;

/** A file that cannot be read: one line that says where, what was expected and what came. */
export class FormatError extends Error {
  constructor(message: string) {
    super(oneLine(message));
  }
}

/** @returns a text as one line of readable length, whatever the file was that it quotes. */
export function oneLine(text: string): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
  return line.length <= LONGEST_LINE ? line : `${line.slice(0, LONGEST_LINE - 1)}…`;
}

/**
 * @returns why a file could not be read. What JavaScript says about values of another form than the code expects names the
 *   code, which helps nobody who has the file.
 */
export function reasonInFile(thrown: unknown): string {
  const slip = [TypeError, RangeError, ReferenceError].some((kind) => thrown instanceof kind);
  return slip ? "a part is missing or has another form than expected" : reasonOf(thrown);
}

/** @returns what was thrown in words: JavaScript can throw anything, and errors of the GPU are no `Error`. */
export function reasonOf(thrown: unknown): string {
  if (typeof thrown === "string" && thrown.trim() !== "") return thrown;
  if (typeof thrown === "object" && thrown !== null) {
    const { message, name } = thrown as { message?: unknown; name?: unknown };
    for (const text of [message, name]) if (typeof text === "string" && text.trim() !== "") return text;
    const kind = thrown.constructor?.name;
    return kind && kind !== "Object" ? `${kind} without a message` : "an error without a message";
  }
  return thrown === undefined || thrown === null
    ? "an error without a message"
    : `an error with the value ${String(thrown)}`;
}
