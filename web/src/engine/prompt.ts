/**
 * Prompt templates with `{question}`, `{field}`, `{latent:<edge id>}` slots and conditional text.
 *
 * Source: docs/recursion.md, rule 2. core/recursivemas/system/prompt.py does the same in Python, and the tests run
 * tests/fixtures/prompt_cases.json against both.
 */
import { EngineError } from "./errors";

/** A piece of a parsed template. */
export type Segment = Filled | FieldSlot | Condition;

/** A piece of a filled prompt: text to tokenise as one string, or the place of an edge's (M, D) rows. */
export type Filled =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "latent"; readonly edge: string };

/** The slot of a column of the question record, such as `question`. */
interface FieldSlot {
  readonly kind: "field";
  readonly name: string;
}

/** Text that depends on a column of the question record. */
interface Condition {
  readonly kind: "condition";
  readonly name: string;
  /** What the column is compared with; undefined asks whether the question has the column and it is not empty. */
  readonly value: string | undefined;
  /** Whether the condition holds where the text is the same, or where it is another one. */
  readonly equal: boolean;
  /** What stands there if the condition holds. */
  readonly held: readonly Segment[];
  readonly otherwise: readonly Segment[];
}

/** The columns of a question by name, `question` among them. */
export type Values = Readonly<Record<string, string>>;
/** Which ends of a message a chat template takes white space from. */
export type Trim = boolean | "end";

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const IF = /^if +([A-Za-z_][A-Za-z0-9_]*)(?: *(!?=)([\s\S]*))?$/;
/** Names that no field of a prompt can have. */
const RESERVED: readonly string[] = ["answer", "fields", "if", "else", "end"];

const bad = (problem: string): EngineError => new EngineError("bad-prompt", problem);

/**
 * Splits a template at its slots and conditions; `{{` and `}}` are literal braces.
 *
 * @throws EngineError `bad-prompt` for an unbalanced brace, an unknown slot or a condition that does not end.
 */
export function parseTemplate(template: string): readonly Segment[] {
  const { segments, closedBy } = parseBlock(splitTemplate(template));
  if (closedBy !== undefined) throw bad(`prompt has a {${closedBy}} without an {if …} before it`);
  return segments;
}

/** Literal text, or the content of a slot. */
type Piece = { readonly text: string } | { readonly slot: string };

function* splitTemplate(template: string): Generator<Piece, undefined> {
  let literal = "";
  let end = 0;
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    literal += template.slice(end, match.index);
    end = match.index + match[0].length;
    const [token, slot] = match;
    if (token === "{{" || token === "}}") {
      literal += token.charAt(0);
    } else if (slot === undefined) {
      throw bad(
        `prompt has an unbalanced '${token}' at character ${match.index}; write '${token}${token}' for a literal brace`,
      );
    } else {
      if (literal) yield { text: literal };
      literal = "";
      yield { slot };
    }
  }
  literal += template.slice(end);
  if (literal) yield { text: literal };
}

/** Segments up to `{else}`, `{end}` or the end of the template, and which of the first two it was. */
function parseBlock(
  pieces: Generator<Piece, undefined>,
  inside?: string,
): { readonly segments: readonly Segment[]; readonly closedBy: string | undefined } {
  const segments: Segment[] = [];
  for (let next = pieces.next(); !next.done; next = pieces.next()) {
    const piece = next.value;
    if ("text" in piece) segments.push({ kind: "text", text: piece.text });
    else if (piece.slot === "else" || piece.slot === "end") return { segments, closedBy: piece.slot };
    else if (piece.slot.startsWith("if ")) segments.push(parseCondition(piece.slot, pieces));
    else {
      const segment = parseSlot(piece.slot);
      if (inside !== undefined && segment.kind === "latent") {
        throw bad(
          `prompt has {${piece.slot}} inside {${inside}}; a hand-off cannot depend on a field, so move it out`,
        );
      }
      segments.push(segment);
    }
  }
  return { segments, closedBy: undefined };
}

function parseCondition(opening: string, pieces: Generator<Piece, undefined>): Condition {
  const [, name, operator, value] = IF.exec(opening) ?? [];
  if (name === undefined || RESERVED.includes(name)) {
    throw bad(
      `prompt has {${opening}}, which cannot be read; write {if field}, {if field = value} or {if field != value}`,
    );
  }
  const first = parseBlock(pieces, opening);
  const otherwise = first.closedBy === "else" ? parseBlock(pieces, opening) : undefined;
  const { closedBy } = otherwise ?? first;
  if (closedBy !== "end") {
    const came = closedBy === undefined ? "the end of the prompt" : "a second {else}";
    throw bad(`prompt has {${opening}} without an {end} before ${came}`);
  }
  return {
    kind: "condition",
    name,
    value: value === undefined ? undefined : strip(value),
    equal: operator !== "!=",
    held: first.segments,
    otherwise: otherwise?.segments ?? [],
  };
}

function parseSlot(slot: string): Segment {
  if (slot.startsWith("latent:") && slot.length > "latent:".length) {
    return { kind: "latent", edge: slot.slice("latent:".length) };
  }
  if (NAME.test(slot) && !RESERVED.includes(slot)) return { kind: "field", name: slot };
  throw bad(
    `prompt has an unknown slot {${slot}}; known are {question}, other columns of the questions but the answer, ` +
      "{latent:<edge id>} and {if …}, and '{{' or '}}' for literal braces",
  );
}

/** White space as Python's `strip` and the chat templates know it: U+FEFF is none. */
const SPACE = "(?:(?!\\ufeff)[\\s\\x1c-\\x1f\\x85])+";
const LEADING = new RegExp(`^${SPACE}`);
const TRAILING = new RegExp(`${SPACE}$`);

function trimmed(text: string, start: boolean, end: boolean): string {
  const rest = start ? text.replace(LEADING, "") : text;
  return end ? rest.replace(TRAILING, "") : rest;
}

/** Takes white space from both ends, as Python does. */
export function strip(text: string): string {
  return trimmed(text, true, true);
}

/** What stands in place of a condition for a question with these columns. */
function branch({ name, value, equal, held, otherwise }: Condition, values: Values): readonly Segment[] {
  const found = own(values, name) ?? "";
  const holds = value === undefined ? found !== "" : (found === value) === equal;
  return holds ? held : otherwise;
}

/** A column, whatever its name; an object has other properties, too. */
function own(values: Values, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

/**
 * @returns the first column that a prompt needs for a question and the question lacks; undefined if it lacks none. A
 *   prompt needs the columns that it shows and those that it compares; `{if field}` alone needs none.
 */
export function missingField(segments: readonly Segment[], values: Values): string | undefined {
  for (const segment of segments) {
    if (segment.kind === "field" && own(values, segment.name) === undefined) return segment.name;
    if (segment.kind !== "condition") continue;
    if (segment.value !== undefined && own(values, segment.name) === undefined) return segment.name;
    const missing = missingField(branch(segment, values), values);
    if (missing !== undefined) return missing;
  }
  return undefined;
}

/** Every column that a prompt may show or ask about, each once, in order. */
export function fieldNames(segments: readonly Segment[]): readonly string[] {
  const names = segments.flatMap((segment): readonly string[] => {
    if (segment.kind === "field") return [segment.name];
    if (segment.kind !== "condition") return [];
    return [segment.name, ...fieldNames(segment.held), ...fieldNames(segment.otherwise)];
  });
  return [...new Set(names)];
}

/**
 * Fills in a question's columns and joins neighbouring texts, because each run of text is tokenised as one string.
 *
 * @param values - taken literally, braces included.
 * @param trim - whether the prompt loses the white space at its ends, or at its end alone.
 * @returns segments in which no text is empty and no two texts are neighbours.
 */
export function fillTemplate(
  segments: readonly Segment[],
  values: Values,
  trim: Trim = false,
): readonly Filled[] {
  const filled = joinText(choose(segments, values));
  const last = filled.length - 1;
  return joinText(
    filled.map((segment, at) =>
      segment.kind === "text"
        ? {
            kind: "text",
            text: trimmed(segment.text, trim === true && at === 0, trim !== false && at === last),
          }
        : segment,
    ),
  );
}

function choose(segments: readonly Segment[], values: Values): readonly Filled[] {
  return segments.flatMap((segment): readonly Filled[] => {
    if (segment.kind === "condition") return choose(branch(segment, values), values);
    return segment.kind === "field" ? [{ kind: "text", text: own(values, segment.name) ?? "" }] : [segment];
  });
}

/** Joins neighbouring texts and drops empty ones. */
export function joinText(segments: readonly Filled[]): readonly Filled[] {
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
