/**
 * Fuzzing of everything in the page that reads what somebody else wrote: `make fuzz`, and a small part in `npm test`.
 *
 * fast-check draws a seed file and changes to it. A reader may return, or throw one of the errors that the page has words
 * for, within `MOST_SECONDS` of processor time and `MOST_BYTES` of memory. An error must be one line of readable length.
 * An input for which that does not hold is kept in corpus/<reader>/, and every later test reads it again.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { EngineError } from "../../src/engine/errors";
import { FormatError } from "../../src/formats/errors";
import { CatalogError, UnknownSystemError } from "../../src/ui/model/catalog";
import { FolderError } from "../../src/ui/model/folder";
import { changed, changes } from "./changes";

export const MOST_SECONDS = 20;
export const MOST_BYTES = 200 * 2 ** 20;
/** The page shows an error's line in a box. */
const LONGEST_LINE = 2000;

const CORPUS = fileURLToPath(new URL("corpus/", import.meta.url));

/** Something that reads a file. */
export interface Reader {
  /** For reports, and of the corpus's folder. */
  readonly name: string;
  /** Good files. */
  readonly seeds: readonly (string | Buffer)[];
  /** Reads a file, and computes what the page does with its content right away. */
  readonly read: (content: Buffer) => unknown;
  /** Inputs in `npm test`. */
  readonly short?: number;
}

/** The errors that the page has words for (src/ui/state/problems.ts). An `internal` one is a mistake of ours. */
function isRefusal(error: unknown): error is Error {
  if (error instanceof EngineError) return error.code !== "internal";
  return [FormatError, CatalogError, UnknownSystemError, FolderError].some((kind) => error instanceof kind);
}

/** Says what is wrong with how an input is read; undefined if nothing is. */
export async function faultOf(reader: Reader, content: Buffer): Promise<string | undefined> {
  const before = process.memoryUsage.rss();
  const began = process.cpuUsage();
  let refused: unknown;
  try {
    await reader.read(content);
  } catch (error) {
    refused = error;
  }
  const { user, system } = process.cpuUsage(began);
  const seconds = (user + system) / 1e6;
  const grown = process.memoryUsage.rss() - before;
  if (refused !== undefined && !isRefusal(refused))
    return String((refused as Error)?.stack ?? refused).slice(0, 600);
  if (refused !== undefined && !isLine(refused.message))
    return `its error is no readable line: ${JSON.stringify(refused.message.slice(0, 300))}`;
  if (seconds > MOST_SECONDS) return `took ${seconds.toFixed(0)} s of processor time`;
  if (grown > MOST_BYTES) return `took ${Math.round(grown / 2 ** 20)} MiB of memory`;
  return undefined;
}

function isLine(message: string): boolean {
  const empty = message.trim() === "" || message.includes("[object ") || message.includes("undefined");
  return !empty && message.length <= LONGEST_LINE && !/[\n\r\u2028\u2029]/.test(message);
}

/**
 * Gives a reader so many inputs, which depend on the number alone.
 *
 * @returns what is wrong with the smallest input that was read wrongly, which is kept; undefined if all went well.
 */
export async function fuzz(reader: Reader, inputs: number, number: number): Promise<string | undefined> {
  let last: { fault: string; content: Buffer } | undefined;
  const which = fc.nat(reader.seeds.length - 1);
  const property = fc.asyncProperty(which, changes, async (index, all) => {
    const content = changed(Buffer.from(reader.seeds[index] ?? ""), all);
    const fault = await faultOf(reader, content);
    if (fault === undefined) return;
    last = { fault, content };
    throw new Error(fault);
  });
  const { failed } = await fc.check(property, { numRuns: inputs, seed: number, endOnFailure: false });
  return failed && last ? `${reader.name}: ${last.fault}; kept as ${keep(reader, last.content)}` : undefined;
}

function keep(reader: Reader, content: Buffer): string {
  const folder = `${CORPUS}${reader.name}/`;
  mkdirSync(folder, { recursive: true });
  const path = folder + createHash("sha256").update(content).digest("hex").slice(0, 16);
  writeFileSync(path, content);
  return path;
}

/** Inputs that were once read wrongly. */
export function corpus(reader: Reader): readonly Buffer[] {
  const folder = `${CORPUS}${reader.name}/`;
  return existsSync(folder) ? readdirSync(folder).map((name) => readFileSync(folder + name)) : [];
}
