/**
 * The page's whole shareable state: one declared table, kept in the URL's query.
 *
 * A field that is absent means "as the system has it"; nothing else of the page is remembered anywhere.
 */

/** How one field is written in a query. */
interface Field<T> {
  /** Of the parameter; for a record the first part of its name. */
  readonly key: string;
  readonly initial: T;
  /** @returns the value, or undefined when the text is not one. */
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

function choice<const T extends string>(key: string, options: readonly [T, ...T[]]): Field<T> {
  return field<T>(key, options[0], (given) => options.find((option) => option === given), String);
}

const flag = (key: string): Field<boolean | null> =>
  field<boolean | null>(
    key,
    null,
    (given) => (given === "1" ? true : given === "0" ? false : undefined),
    (value) => (value ? "1" : "0"),
  );

/** A set of names, one parameter each: `off=a&off=b`. */
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

/** Texts by name, one parameter each: `prompt.planner=…`. */
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

/** What the page shows. */
export const VIEWS = ["watch", "inside", "compare", "measure", "change", "explain"] as const;
export type View = (typeof VIEWS)[number];
export const MODES = ["latent", "text", "single", "loop"] as const;

/** The table. */
export const FIELDS = {
  /** URL of a `system.json`; empty: the first of the list beside the page. */
  system: text("system"),
  view: choice("view", VIEWS),
  /** Number of a held-out question, from 1. */
  number: number("n", 1, 1e9, true),
  /** A question of one's own; wins over `number`. */
  question: optionalText("q"),
  mode: choice("mode", MODES),
  rounds: number("rounds", 1, 64, true),
  latentSteps: number("steps", 1, 1024, true),
  maxNewTokens: number("max", 1, 4096, true),
  temperature: number("t", 0, 10),
  topP: number("p", 0.01, 1),
  seed: number("seed", 0, 2 ** 31 - 1, true),
  thinkBeforeAnswer: flag("think"),
  answerPrefix: optionalText("prefix"),
  textTokens: number("tt", 1, 4096, true),
  /** Ids of the agents that take part, in running order; empty: the system's own. */
  order: list("order"),
  /** By agent id: what a visitor calls its part. */
  roles: record("role"),
  /** Ids of edges that carry nothing. */
  off: list("off"),
  /** By agent id. */
  prompts: record("prompt"),
  firstPrompts: record("first"),
} as const satisfies Record<string, Field<never> | Field<unknown>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;
/** The page's shareable state. */
export type PageState = { readonly [K in keyof typeof FIELDS]: ValueOf<(typeof FIELDS)[K]> };

const NAMES = Object.keys(FIELDS) as (keyof PageState)[];

/** Everything as the system has it. */
export const INITIAL = Object.fromEntries(NAMES.map((name) => [name, FIELDS[name].initial])) as PageState;

/** Parameters that make no sense are passed over: a mistyped link still opens. */
export function parseQuery(search: string): PageState {
  const query = new URLSearchParams(search);
  const read = (name: keyof PageState): unknown => FIELDS[name].read(query) ?? FIELDS[name].initial;
  return Object.fromEntries(NAMES.map((name) => [name, read(name)])) as PageState;
}

/** @returns the query without its `?`; empty when everything is as the system has it. */
export function printQuery(state: PageState): string {
  const query = new URLSearchParams();
  for (const name of NAMES) {
    const each = FIELDS[name] as Field<unknown>;
    if (state[name] !== each.initial) each.write(query, state[name]);
  }
  return query.toString();
}

/** What "reset" keeps: which system, question and view. */
export const KEPT_ON_RESET = ["system", "view", "number", "question"] as const satisfies (keyof PageState)[];

/** @returns whether anything differs from the system's own settings. */
export function isChanged(state: PageState): boolean {
  const kept: readonly string[] = KEPT_ON_RESET;
  return NAMES.some((name) => !kept.includes(name) && printQuery({ ...INITIAL, [name]: state[name] }) !== "");
}
