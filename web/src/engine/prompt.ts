/**
 * Prompt templates with `{question}` and `{latent:<edge id>}` slots.
 *
 * Source: docs/recursion.md, rule 2. core/recursivemas/system/prompt.py does the
 * same in Python, and the tests run tests/fixtures/prompt_cases.json against both.
 */
import { EngineError } from "./errors";

/** A piece of a parsed template. */
export type Segment =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "question"; readonly trimStart?: boolean; readonly trimEnd?: boolean }
  | { readonly kind: "latent"; readonly edge: string };

/** A piece of a filled prompt: text to tokenise as one string, or the place of an edge's (M, D) rows. */
export type Filled = Exclude<Segment, { kind: "question" }>;

/**
 * Splits a template at its slots; `{{` and `}}` are literal braces.
 *
 * @throws EngineError `bad-prompt` for an unbalanced brace or an unknown slot.
 */
export function parseTemplate(template: string): readonly Segment[] {
  const segments: Segment[] = [];
  let literal = "";
  let end = 0;
  const flush = (): void => {
    if (literal) segments.push({ kind: "text", text: literal });
    literal = "";
  };
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    literal += template.slice(end, match.index);
    end = match.index + match[0].length;
    const [token, slot] = match;
    if (token === "{{" || token === "}}") {
      literal += token.charAt(0);
    } else if (slot === undefined) {
      throw new EngineError(
        "bad-prompt",
        `prompt has an unbalanced '${token}' at character ${match.index}; write '${token}${token}' for a literal brace`,
      );
    } else {
      flush();
      segments.push(parseSlot(slot));
    }
  }
  literal += template.slice(end);
  flush();
  return segments;
}

function parseSlot(slot: string): Segment {
  if (slot === "question") return { kind: "question" };
  if (slot.startsWith("latent:") && slot.length > "latent:".length) {
    return { kind: "latent", edge: slot.slice("latent:".length) };
  }
  throw new EngineError(
    "bad-prompt",
    `prompt has an unknown slot {${slot}}; known are {question} and {latent:<edge id>}, and '{{' or '}}' for literal braces`,
  );
}

/** White space as Python's `strip` and the chat templates know it: U+FEFF is none. */
const SPACE = "(?:(?!\\ufeff)[\\s\\x1c-\\x1f\\x85])+";
const LEADING = new RegExp(`^${SPACE}`);
const TRAILING = new RegExp(`${SPACE}$`);

/** Removes white space from the ends of a template, as a chat template does that trims the message. */
export function trimEnds(segments: readonly Segment[]): readonly Segment[] {
  const first = segments.findIndex((each) => each.kind !== "text" || each.text.replace(LEADING, "") !== "");
  const last = segments.findLastIndex(
    (each) => each.kind !== "text" || each.text.replace(LEADING, "") !== "",
  );
  return segments.slice(first, last + 1).map((segment, at) => {
    const trimStart = at === 0;
    const trimEnd = at === last - first;
    if (segment.kind === "question") return { kind: "question", trimStart, trimEnd };
    return segment.kind === "text"
      ? { kind: "text", text: trimmed(segment.text, trimStart, trimEnd) }
      : segment;
  });
}

function trimmed(text: string, start = false, end = false): string {
  const rest = start ? text.replace(LEADING, "") : text;
  return end ? rest.replace(TRAILING, "") : rest;
}

/**
 * Inserts the question and joins neighbouring texts, because each run of text is tokenised as one string.
 *
 * @param question - taken literally, braces included.
 * @returns segments in which no text is empty and no two texts are neighbours.
 */
export function fillTemplate(segments: readonly Segment[], question: string): readonly Filled[] {
  return joinText(
    segments.map((each) =>
      each.kind === "question"
        ? { kind: "text", text: trimmed(question, each.trimStart, each.trimEnd) }
        : each,
    ),
  );
}

/** Joins neighbouring texts and drops empty ones. */
function joinText(segments: readonly Filled[]): readonly Filled[] {
  const joined: Filled[] = [];
  for (const segment of segments) {
    const last = joined.at(-1);
    if (segment.kind === "latent") joined.push(segment);
    else if (segment.text && last?.kind === "text")
      joined[joined.length - 1] = { kind: "text", text: last.text + segment.text };
    else if (segment.text) joined.push(segment);
  }
  return joined;
}

/** The edge ids of the latent slots, in order. */
export function latentEdges(segments: readonly Segment[]): readonly string[] {
  return segments.flatMap((each) => (each.kind === "latent" ? [each.edge] : []));
}
