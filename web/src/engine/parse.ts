/** Reads a file of a known format, with the engine's own error. */
import { FormatError } from "../formats/errors";
import { type Format, parseFile } from "../formats/format";
import { EngineError, type EngineErrorCode } from "./errors";

/** As `parseFile`. @throws EngineError with the given code. */
export function parseFileAs<T>(code: EngineErrorCode, text: string, source: string, format: Format<T>): T {
  try {
    return parseFile(text, source, format);
  } catch (error) {
    throw error instanceof FormatError ? new EngineError(code, error.message) : error;
  }
}
