/**
 * Everything of the page that a link carries, declared in one table and kept in the URL's query.
 *
 * An absent field stands for the system's own value.
 */
import type { Decoding } from "../../engine/api";
import type { Controlled, DecodingSetting } from "../../formats/decoding";
import { DECODING, MAX_LATENT_STEPS, MAX_ROUNDS, MODE_NAMES } from "../../formats/generated/names";

/** How a query holds one field. */
interface Field<T> {
  /** The parameter's name, or its prefix for a record. */
  readonly key: string;
  readonly initial: T;
  /** @returns the value; undefined if the text is no valid value. */
  read(query: URLSearchParams): T | undefined;
  write(query: URLSearchParams, value: T): void;
}

function field<T>(
  key: string,
  initial: T,
  parse: (text: string) => T | undefined,
  print: (value: T) => string,
): Field<T> {
  return {
    key,
    initial,
    read: (query) => {
      const text = query.get(key);
      return text === null ? undefined : parse(text);
    },
    write: (query, value) => query.set(key, print(value)),
  };
}

const text = (key: string): Field<string> => field(key, "", (given) => given, String);

const optionalText = (key: string): Field<string | null> =>
  field<string | null>(key, null, (given) => given, String);

function number(key: string, low: number, high: number, integer = false): Field<number | null> {
  const parse = (given: string): number | undefined => {
    const value = given.trim() === "" ? Number.NaN : Number(given);
    return value >= low && value <= high && (!integer || Number.isInteger(value)) ? value : undefined;
  };
  return field<number | null>(key, null, parse, String);
}

function choice<const T extends string>(key: string, options: readonly T[]): Field<T> {
  return field<T>(key, options[0] as T, (given) => options.find((option) => option === given), String);
}

const flag = (key: string): Field<boolean | null> =>
  field<boolean | null>(
    key,
    null,
    (given) => (given === "1" ? true : given === "0" ? false : undefined),
    (value) => (value ? "1" : "0"),
  );

/** A list of names, with one parameter for each: `off=a&off=b`. */
function list(key: string): Field<readonly string[]> {
  return {
    key,
    initial: [],
    read: (query) => (query.has(key) ? query.getAll(key) : undefined),
    write: (query, value) => {
      for (const each of value) query.append(key, each);
    },
  };
}

/** Texts by name, with one parameter for each: `prompt.planner=…`. */
function record(key: string): Field<Readonly<Record<string, string>>> {
  const prefix = `${key}.`;
  return {
    key,
    initial: {},
    read: (query) => {
      const found = [...query].filter(([name]) => name.startsWith(prefix) && name.length > prefix.length);
      return found.length === 0
        ? undefined
        : Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
    },
    write: (query, value) => {
      for (const [name, each] of Object.entries(value)) query.set(`${prefix}${name}`, each);
    },
  };
}

/** Settings of version 0.1.0 keep their short names in links; a newer setting is called by its own name. */
const SHORT: Partial<Record<string, string>> = {
  maxNewTokens: "max",
  temperature: "t",
  topP: "p",
  thinkBeforeAnswer: "think",
  answerPrefix: "prefix",
  textTokens: "tt",
};

function decodingField(setting: DecodingSetting): Field<unknown> {
  const key = SHORT[setting.name] ?? setting.name;
  switch (setting.type) {
    case "boolean":
      return flag(key);
    case "text":
      return optionalText(key);
    default:
      return number(key, setting.min, setting.max, setting.type === "integer");
  }
}

/** null stands for the system's own value. */
type DecodingFields = { readonly [K in Controlled]: Field<Decoding[K] | null> };

const DECODING_FIELDS = Object.fromEntries(
  DECODING.map((setting) => [setting.name, decodingField(setting)]),
) as unknown as DecodingFields;

/** What the page shows. */
export const VIEWS = [
  "watch",
  "chat",
  "inside",
  "compare",
  "measure",
  "change",
  "links",
  "devices",
  "explain",
] as const;
export type View = (typeof VIEWS)[number];

/** The table. */
const FIELDS = {
  /** URL of a `system.json`, or a name of the list beside the page; empty: the first system of the list. */
  system: text("system"),
  view: choice("view", VIEWS),
  /** Number of a held-out question, counted from 1. */
  number: number("n", 1, 1e9, true),
  /** The visitor's own question; takes precedence over `number`. */
  question: optionalText("q"),
  /** The visitor's own texts for other columns of the question, by name. */
  fields: record("field"),
  mode: choice("mode", MODE_NAMES),
  rounds: number("rounds", 1, MAX_ROUNDS, true),
  latentSteps: number("steps", 1, MAX_LATENT_STEPS, true),
  /** Whether a run may end before its last round, at the system's threshold. */
  earlyStopping: flag("early"),
  ...DECODING_FIELDS,
  /** Ids of the agents that take part, in running order; empty: the system's own order. */
  order: list("order"),
  /** What the visitor calls an agent's role, by agent id. */
  roles: record("role"),
  /** Ids of edges that are switched off. */
  off: list("off"),
  /** By agent id. */
  prompts: record("prompt"),
  firstPrompts: record("first"),
  singlePrompts: record("single"),
} as const satisfies Record<string, Field<never> | Field<unknown>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;
/** The page's shareable state. */
export type PageState = { readonly [K in keyof typeof FIELDS]: ValueOf<(typeof FIELDS)[K]> };

const NAMES = Object.keys(FIELDS) as (keyof PageState)[];

/** The system's own value for everything. */
export const INITIAL = Object.fromEntries(NAMES.map((name) => [name, FIELDS[name].initial])) as PageState;

/** Ignores invalid parameters, so that a mistyped link still opens. */
export function parseQuery(search: string): PageState {
  const query = new URLSearchParams(search);
  const read = (name: keyof PageState): unknown => FIELDS[name].read(query) ?? FIELDS[name].initial;
  return Object.fromEntries(NAMES.map((name) => [name, read(name)])) as PageState;
}

/** @returns the query without its `?`; empty if nothing differs from the system's own values. */
export function printQuery(state: PageState): string {
  const query = new URLSearchParams();
  for (const name of NAMES) {
    const each = FIELDS[name] as Field<unknown>;
    if (state[name] !== each.initial) each.write(query, state[name]);
  }
  return query.toString();
}

/** Servers refuse addresses of more than about 8,000 characters; the rest of an address takes its part. */
const LONGEST_QUERY = 4000;

/** A query that fits into an address. */
export interface AddressQuery {
  /** Without its `?`, and without the longest texts if they do not fit. */
  readonly query: string;
  /** Whether the address carries everything. */
  readonly whole: boolean;
}

/** As `printQuery`, but short enough for every server. */
export function printAddress(state: PageState): AddressQuery {
  const query = new URLSearchParams(printQuery(state));
  let whole = true;
  while (query.toString().length > LONGEST_QUERY) {
    const [name] = [...query].reduce((a, b) => (b[1].length > a[1].length ? b : a));
    query.delete(name);
    whole = false;
  }
  return { query: query.toString(), whole };
}

/** The fields that a reset keeps. */
export const KEPT_ON_RESET = [
  "system",
  "view",
  "number",
  "question",
  "fields",
] as const satisfies (keyof PageState)[];

/** @returns whether anything differs from the system's own settings. */
export function isChanged(state: PageState): boolean {
  const kept: readonly string[] = KEPT_ON_RESET;
  return NAMES.some((name) => !kept.includes(name) && printQuery({ ...INITIAL, [name]: state[name] }) !== "");
}
