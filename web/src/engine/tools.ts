/**
 * Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.
 *
 * Source: docs/recursion.md, rule 8; training/recursivemas/training/tools.py does the same.
 */
import { TOOLS, type Tool } from "../formats/generated/names";
import { calculate } from "./calculator";
import type { Fetch } from "./download";
import { searchFor } from "./search";
import type { SearchOptions, ToolCall } from "./types";

/** What a tool may use besides its input. */
export interface Reach {
  readonly search: SearchOptions | undefined;
  readonly fetch: Fetch;
  readonly signal: AbortSignal | undefined;
  /** How many calls the answer may make; null: any number. */
  readonly most: number | null;
  /** How many it has made. */
  readonly made: number;
}

/** Gives a tool's result: plain text, or `error: …`. */
type Perform = (input: string) => string | Promise<string>;

/** By name of the tool; undefined if the run does not allow it. */
const PERFORM: Readonly<Record<Tool, (reach: Reach) => Perform | undefined>> = {
  calculator: () => calculate,
  // The page has no Python: an interpreter is a download of more than 10 MB.
  python: () => undefined,
  search: ({ search, ...reach }) => search && ((query) => searchFor(query, search, reach)),
};

/**
 * Answers the call at the end of a text, if there is one.
 *
 * @param text - what the agent has written so far.
 * @param declared - the names of the agent's tools.
 */
export async function callTool(
  text: string,
  declared: readonly string[],
  reach: Reach,
): Promise<ToolCall | undefined> {
  // A tool that needs permission takes it from the run. Otherwise its call is ordinary text, as in the reference.
  const names = TOOLS.filter(({ name, consent }) => consent || declared.includes(name)).map(
    ({ name }) => name,
  );
  const call = findCall(text, names);
  const perform = call && PERFORM[call.tool](reach);
  if (!perform) return undefined;
  const refused = reach.most !== null && reach.made >= reach.most;
  const output = refused ? `error: no more than ${reach.most} calls` : await perform(call.input);
  return { ...call, output, text: ` <result> ${output} </result>`, ...(refused ? { refused } : {}) };
}

/**
 * @param names - the tools that the agent may call.
 * @returns the call at the end of `text`; undefined if there is none.
 */
export function findCall<Name extends string>(
  text: string,
  names: readonly Name[],
): { tool: Name; input: string } | undefined {
  const [, tag, input] = /<([a-z_]+)>([^<>]*)<\/\1>\s*$/.exec(text) ?? [];
  const tool = names.find((name) => name === tag);
  return tool === undefined || input === undefined ? undefined : { tool, input };
}
