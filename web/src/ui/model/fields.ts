/** The columns of a question beside its text, such as facts that only one agent reads. Pure. */
import { type AgentSpec, fieldsOf, type RunOptions, type System, type TaskQuestion } from "../../engine/api";
import { planOf } from "./settings";
import type { PageState } from "./url";

/** Texts by name of the column. */
export type Fields = Readonly<Record<string, string>>;

/** The columns that prompts of the page's system show. */
export interface FieldPlan {
  /** Those that several agents read. */
  readonly shared: readonly string[];
  /** Those that one agent alone reads, for each agent that has any, in running order. */
  readonly own: readonly { readonly agent: string; readonly names: readonly string[] }[];
}

export const NO_FIELDS: FieldPlan = { shared: [], own: [] };

/** Which columns the agents read that take part. */
export function planFields(system: System, state: PageState): FieldPlan {
  const { agents } = planOf(system, state);
  const read = agents.map((agent) => ({ agent: agent.id, names: namesOf(agent, state) }));
  const readers = (name: string): number => read.filter(({ names }) => names.includes(name)).length;
  const all = [...new Set(read.flatMap(({ names }) => names))];
  return {
    shared: all.filter((name) => readers(name) > 1),
    own: read.flatMap(({ agent, names }) => {
      const alone = names.filter((name) => readers(name) === 1);
      return alone.length === 0 ? [] : [{ agent, names: alone }];
    }),
  };
}

/** The columns that an agent's prompts show, the visitor's prompts in place of the system's. */
function namesOf(agent: AgentSpec, { prompts, firstPrompts, singlePrompts }: PageState): readonly string[] {
  const { id } = agent;
  const own = {
    ...(prompts[id] === undefined ? {} : { prompt: prompts[id] }),
    ...(firstPrompts[id] === undefined ? {} : { firstRoundPrompt: firstPrompts[id] }),
    ...(singlePrompts[id] === undefined ? {} : { singlePrompt: singlePrompts[id] }),
  };
  return fieldsOf(agent, { [id]: own });
}

/** A column's text, whatever the column is called: a prompt may show `{constructor}`. */
export function textOf(fields: Fields, name: string): string | undefined {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

/** All columns of a plan. */
export function allNames({ shared, own }: FieldPlan): readonly string[] {
  return [...shared, ...own.flatMap(({ names }) => names)];
}

/** Every column of a record that a prompt can show, besides the question. The choices stand on a line each. */
export function fieldsOfRecord(record: TaskQuestion | undefined): Fields {
  if (!record) return {};
  const { fields = {}, choices, group } = record;
  return {
    ...fields,
    ...(choices === undefined ? {} : { choices: choices.map(lettered).join("\n") }),
    ...(group === undefined ? {} : { group }),
  };
}

function lettered(choice: string, at: number): string {
  return at < 26 ? `${String.fromCharCode("A".charCodeAt(0) + at)}. ${choice}` : choice;
}

/** The columns that a run needs: the visitor's texts, else the record's, else none. Empty if prompts show none. */
export function chooseFields(plan: FieldPlan, record: Fields, edited: Fields): Fields {
  const text = (name: string): string => textOf(edited, name) ?? textOf(record, name) ?? "";
  return Object.fromEntries(allNames(plan).map((name) => [name, text(name)]));
}

/** What people call a column: `reader_facts` → `facts` of the reader, `map_key` → `map key`. */
export function fieldLabel(name: string, agent?: string): string {
  const own = agent !== undefined && name.startsWith(`${agent}_`) ? name.slice(agent.length + 1) : name;
  return own.replaceAll("_", " ");
}

/** What to ask in place of a run's question, with the same columns as that run. */
export function askInstead(
  record: TaskQuestion,
  { fields }: Pick<RunOptions, "fields">,
): Pick<RunOptions, "question" | "fields"> {
  if (!fields) return { question: record.question };
  const values = fieldsOfRecord(record);
  const same = Object.keys(fields).map((name) => [name, textOf(values, name) ?? ""]);
  return { question: record.question, fields: Object.fromEntries(same) };
}

/** Whether a run was asked this very question. */
export function isAsked(record: TaskQuestion, options: RunOptions): boolean {
  const own = askInstead(record, options);
  return (
    own.question === options.question &&
    Object.entries(own.fields ?? {}).every(([name, text]) => textOf(options.fields ?? {}, name) === text)
  );
}
