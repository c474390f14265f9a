/**
 * The search tool gives the opening sentences of an encyclopedia's best match. Only a run's options switch it on.
 *
 * Source: docs/recursion.md, rule 8; the query interface of MediaWiki's `api.php` (generator=search, prop=extracts).
 */
import * as v from "valibot";
import { type Fetch, fetchOk } from "./download";
import { throwIfCancelled } from "./errors";
import type { SearchOptions } from "./types";

const LONGEST_QUERY = 200;
/** The agent reads the result in its context, which is short. */
const LONGEST_RESULT = 300;

const answerSchema = v.object({
  query: v.optional(
    v.object({ pages: v.array(v.object({ title: v.string(), extract: v.optional(v.string(), "") })) }),
  ),
});

/**
 * @returns plain text without angle brackets, or `error: …`; the agent reads either.
 * @throws EngineError `cancelled`, and no other.
 */
export async function searchFor(
  query: string,
  options: SearchOptions,
  { fetch, signal }: { readonly fetch: Fetch; readonly signal: AbortSignal | undefined },
): Promise<string> {
  const text = query.trim();
  if (text === "" || text.length > LONGEST_QUERY) return `error: expected 1 to ${LONGEST_QUERY} characters`;
  try {
    const response = await fetchOk(searchUrl(text, options), signal ? { signal } : {}, fetch);
    const found = v.safeParse(answerSchema, await response.json());
    const page = found.success ? found.output.query?.pages[0] : undefined;
    return page ? tidy(`${page.title}: ${page.extract}`) : "error: nothing was found";
  } catch {
    throwIfCancelled(signal);
    return "error: the search could not be reached";
  }
}

function searchUrl(query: string, { url }: SearchOptions): string {
  const target = new URL(url);
  target.search = new URLSearchParams({
    action: "query",
    format: "json",
    formatversion: "2",
    origin: "*",
    generator: "search",
    gsrsearch: query,
    gsrlimit: "1",
    prop: "extracts",
    exintro: "1",
    explaintext: "1",
    exsentences: "2",
  }).toString();
  return target.href;
}

/** Makes one line without angle brackets, so that a text from outside cannot pass for a tag. */
function tidy(text: string): string {
  const line = text.replace(/[<>]/g, " ").replace(/\s+/g, " ").trim();
  return line.length <= LONGEST_RESULT ? line : `${line.slice(0, LONGEST_RESULT - 1)}…`;
}
