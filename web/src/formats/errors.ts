/** A file that cannot be read: one line that says where, what was expected and what came. */
export class FormatError extends Error {}

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
