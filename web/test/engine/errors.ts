import { EngineError, type EngineErrorCode } from "../../src/engine/errors";

/** Runs something that must fail, and gives `code: message` of its error. */
export async function failure(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("expected an EngineError, nothing was thrown");
}

/** A pattern for what `failure` gives: the code and a part of the message. */
export function says(code: EngineErrorCode, part: string): RegExp {
  return new RegExp(`^${code}: .*${part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`);
}
