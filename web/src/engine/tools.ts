/**
 * Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.
 *
 * Source: docs/recursion.md, rule 8; training/recursivemas/training/tools.py does the same.
 */
import { calculate } from "./calculator";
import type { Fetch } from "./download";
import { searchFor } from "./search";
import type { SearchOptions, ToolCall } from "./types";

/** What a tool may use besides its input. */
export interface Reach {
  readonly search: SearchOptions | undefined;
  readonly fetch: Fetch;
  readonly signal: AbortSignal | undefined;
}

/** Gives a tool's result: plain text, or `error: …`. */
type Tool = (input: string) => string | Promise<string>;

/** A tool by name; undefined if the run does not allow it. */
const TOOLS: Readonly<Record<string, (reach: Reach) => Tool | undefined>> = {
  calculator: () => calculate,
  search: ({ search, ...reach }) => search && ((query) => searchFor(query, search, reach)),
};
/** Tools that any agent may use if the run allows them. Otherwise a call is ordinary text, as in the reference. */
const BY_PERMISSION = ["search"];

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
  const call = findCall(text, [...declared, ...BY_PERMISSION]);
  const tool = call && TOOLS[call.tool]?.(reach);
  if (!tool) return undefined;
  const output = await tool(call.input);
  return { ...call, output, text: ` <result> ${output} </result>` };
}

/**
 * @param allowed - the names of the tools that the agent may call.
 * @returns the call at the end of `text`; undefined if there is none.
 */
export function findCall(
  text: string,
  allowed: readonly string[],
): Pick<ToolCall, "tool" | "input"> | undefined {
  const [, tool, input] = /<([a-z_]+)>([^<>]*)<\/\1>\s*$/.exec(text) ?? [];
  return tool === undefined || input === undefined || !allowed.includes(tool) ? undefined : { tool, input };
}
