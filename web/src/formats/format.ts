/** Reads a file of a known format: parsed, checked, and with its keys in camelCase. */
import * as v from "valibot";
import { camelise } from "./camel";
import { describeIssues } from "./describe";
import { FormatError, reasonOf } from "./errors";
import { FREE } from "./generated/validators";
import { lostKey } from "./names";

/** A format of files whose content is a `T` in TypeScript; generated/validators.ts has them all. */
export interface Format<T> {
  /** Checks a parsed file, whose keys are snake_case. */
  readonly schema: v.GenericSchema<unknown, unknown>;
  /** What a file of this format is called. */
  readonly what: string;
  /** The newest version that is known here; undefined if the format has no versions. */
  readonly version: number | undefined;
  /** Never set. */
  readonly content?: T;
}

/** Levels of lists and objects in each other; core/recursivemas/system/strict.py allows as many. */
const DEEPEST = 64;
/** Servers and networks that have something to say answer with a page. */
const WEB_PAGE =
  " but a web page: a network may want you to log in first, or the server shows its own page for what it does not have";

/**
 * @param text - the content of the file.
 * @param source - its name or URL, for messages.
 * @throws FormatError if the file is not JSON, is of a newer version, or breaks the schema.
 */
export function parseFile<T>(text: string, source: string, format: Format<T>): T {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new FormatError(
      `${source} is not valid JSON${/^\s*</.test(text) ? WEB_PAGE : `: ${reasonOf(error)}`}`,
    );
  }
  const odd = oddity(data);
  if (odd !== undefined) throw new FormatError(`${source}: ${odd}`);
  const { schema, what, version: known } = format;
  // The version comes first: a newer format may have other keys.
  const version = typeof data === "object" && data !== null && "version" in data ? data.version : undefined;
  if (known !== undefined && typeof version === "number" && version > known) {
    throw new FormatError(
      `${source}: ${what} version ${version} is newer than this page's ${known}; reload the page or update it`,
    );
  }
  const lost = lostKey(data, FREE);
  if (lost !== undefined)
    throw new FormatError(
      `${source}: a key is called '${lost}', which has a meaning in JavaScript; rename it`,
    );
  const parsed = v.safeParse(schema, data);
  if (!parsed.success) throw new FormatError(`${source} is not a ${what}: ${describeIssues(parsed.issues)}`);
  return camelise(parsed.output) as T;
}

/** What no file has that a browser can pass on and draw; undefined if there is nothing of the kind. */
function oddity(data: unknown): string | undefined {
  let level: unknown[] = [data];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) return `more than ${DEEPEST} levels deep`;
    // JSON has no infinity, but numbers that are too large become one.
    if (level.some((each) => typeof each === "number" && !Number.isFinite(each)))
      return "a number is too large to be one";
    level = level.flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : []));
  }
  return undefined;
}
