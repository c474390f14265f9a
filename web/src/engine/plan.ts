/**
 * Plans a run before it begins: its settings, the agents that take part, the edges that carry something, every turn.
 *
 * This is the only place that knows the defaults and the order of turns. `recursion.ts` performs what is planned here,
 * and the page draws it. Nothing here needs a loaded system.
 *
 * Source: docs/recursion.md, rules 1, 2, 5 to 7 and 10.
 */
import { decodingProblem } from "../formats/decoding";
import { MAX_LATENT_STEPS, MAX_ROUNDS, MODE_NAMES } from "../formats/generated/names";
import { EngineError } from "./errors";
import {
  type Filled,
  fieldNames,
  fillTemplate,
  joinText,
  latentEdges,
  missingField,
  parseTemplate,
  type Segment,
} from "./prompt";
import type { AgentSpec, EdgeSpec, PromptSpec, System } from "./system";
import type { Decoding, EarlyStopping, Mode, PromptOverride, RunOptions, Sampling } from "./types";

/** What a plan needs to know of an agent. */
export type PlannedAgent = Pick<AgentSpec, "id" | "hiddenSize"> & {
  /** Its own number of latent steps, if it has one. */
  readonly latentSteps?: number | null;
};
/** What a plan needs to know of an edge. */
export type PlannedEdge = Pick<EdgeSpec, "id" | "from" | "to" | "feedback">;

/** What a run is planned for: a manifest, loaded or not, or the part of it that a saved run keeps. */
export interface Plannable<A extends PlannedAgent, E extends PlannedEdge> {
  readonly agents: readonly A[];
  readonly edges: readonly E[];
  /** The defaults. A saved run does not keep them, because its options are complete. */
  readonly rounds?: number;
  readonly latentSteps?: number;
  readonly decoding?: Decoding;
}

/** The settings of a run with nothing left to a default. As options they plan the same run again. */
export interface RunSettings
  extends Required<Pick<RunOptions, "mode" | "rounds" | "latentSteps" | "order" | "edges">> {
  readonly decoding: Decoding;
  /** Absent if the run takes all of its rounds. */
  readonly earlyStopping?: EarlyStopping;
}

/** One turn that a run will take. */
export interface PlannedTurn<E extends PlannedEdge = PlannedEdge> {
  /** Counted from 0. */
  readonly round: number;
  readonly agent: string;
  /** Latent thoughts that the agent will roll out. */
  readonly latentSteps: number;
  /** The most tokens of thought that the agent may write; above 0 in text mode only. */
  readonly textTokens: number;
  /** Whether the turn ends with the answer. */
  readonly answers: boolean;
  /** Whether the run may end in this turn instead of later, if early stopping finds its round like the one before. */
  readonly mayStop?: true;
  /** The edges that hand over what the turn thought, to agents that are still to run. */
  readonly sends: readonly E[];
}

/** What a run will do. */
export interface Plan<A extends PlannedAgent = PlannedAgent, E extends PlannedEdge = PlannedEdge> {
  readonly settings: RunSettings;
  /** The agents that take part, in the order in which they run; the last one answers. */
  readonly agents: readonly A[];
  /** The edges that carry something, in declared order; `feedback` follows from the order of the agents. */
  readonly edges: readonly E[];
  readonly turns: readonly PlannedTurn<E>[];
  /** The most tokens of the deciding agent's thought in text mode: `decoding.textTokens`, or else its latent steps. */
  readonly textTokens: number;
}

/**
 * Plans a run. The question and the prompts play no part in it; `planPrompts` checks the prompts.
 *
 * @throws EngineError `bad-option`: one line that says which option is wrong, and what is expected.
 */
export function planRun<A extends PlannedAgent, E extends PlannedEdge>(
  system: Plannable<A, E>,
  options: Omit<RunOptions, "question"> = {},
): Plan<A, E> {
  const agents = chooseAgents(system, options.order);
  const edges = arrangeEdges(chooseEdges(system, options.edges), agents);
  checkReplacements(system, options.replace);
  const settings: RunSettings = {
    mode: checkMode(options.mode ?? "latent"),
    rounds: within("rounds", options.rounds ?? system.rounds, 1, MAX_ROUNDS),
    latentSteps: within("latentSteps", options.latentSteps ?? system.latentSteps, 1, MAX_LATENT_STEPS),
    decoding: checkDecoding({ ...system.decoding, ...options.decoding }),
    order: agents.map(({ id }) => id),
    edges: edges.map(({ id }) => id),
    ...(options.earlyStopping ? { earlyStopping: checkEarlyStopping(options.earlyStopping) } : {}),
  };
  const budgets = agents.map((agent) => budgetOf(agent, settings));
  const textTokens = budgets.at(-1)?.textTokens ?? settings.latentSteps;
  return { settings, agents, edges, turns: planTurns(settings, edges, budgets), textTokens };
}

/** What an agent may think in a turn. */
interface Budget {
  readonly agent: string;
  readonly latentSteps: number;
  readonly textTokens: number;
}

function budgetOf(agent: PlannedAgent, { latentSteps, decoding }: RunSettings): Budget {
  const steps = agent.latentSteps ?? latentSteps;
  return { agent: agent.id, latentSteps: steps, textTokens: decoding.textTokens ?? steps };
}

/** How an agent picks tokens: the run's settings, and what its checkpoint says where these are null. */
export function samplingOf(decoding: Decoding, { sampling }: Pick<AgentSpec, "sampling">): Sampling {
  return {
    temperature: decoding.temperature ?? sampling.temperature,
    topP: decoding.topP ?? sampling.topP,
    topK: decoding.topK ?? sampling.topK,
    repetitionPenalty: decoding.repetitionPenalty ?? sampling.repetitionPenalty,
  };
}

/** Every mode's turns, in order. Exactly one of them answers, the last one. */
function planTurns<E extends PlannedEdge>(
  { mode, rounds, decoding, order, earlyStopping }: RunSettings,
  edges: readonly E[],
  budgets: readonly Budget[],
): readonly PlannedTurn<E>[] {
  const alone = (steps: number): PlannedTurn<E> => ({
    round: 0,
    agent: order.at(-1) ?? "",
    latentSteps: steps,
    textTokens: 0,
    answers: true,
    sends: [],
  });
  if (mode === "single") return [alone(0)];
  if (mode === "loop") return [alone(rounds * budgets.reduce((sum, each) => sum + each.latentSteps, 0))];
  const mayStop = mode === "latent" && earlyStopping !== undefined && edges.some(({ feedback }) => feedback);
  return Array.from({ length: rounds }, (_, round) =>
    budgets.map(({ agent, ...budget }, index): PlannedTurn<E> => {
      const last = round === rounds - 1;
      const answers = last && index === order.length - 1;
      const thinks = !answers || decoding.thinkBeforeAnswer;
      return {
        round,
        agent,
        latentSteps: thinks && mode === "latent" ? budget.latentSteps : 0,
        textTokens: thinks && mode === "text" ? budget.textTokens : 0,
        answers,
        ...(mayStop && index === order.length - 1 && round > 0 && !last ? { mayStop } : {}),
        sends: answers ? [] : edges.filter(({ from, feedback }) => from === agent && !(feedback && last)),
      };
    }),
  ).flat();
}

function bad(problem: string): EngineError {
  return new EngineError("bad-option", problem);
}

function within(name: string, value: number | undefined, least: number, most: number): number {
  if (value === undefined || !Number.isInteger(value) || value < least || value > most) {
    throw bad(`${name} must be a whole number from ${least} to ${most}, got ${value}`);
  }
  return value;
}

function checkMode(mode: Mode): Mode {
  if (!MODE_NAMES.includes(mode)) throw bad(`mode must be one of ${MODE_NAMES.join(", ")}, got '${mode}'`);
  return mode;
}

function checkDecoding(decoding: Partial<Decoding>): Decoding {
  const problem = decodingProblem(decoding);
  if (problem !== undefined) throw bad(problem);
  return decoding as Decoding;
}

function checkEarlyStopping({ threshold }: EarlyStopping): EarlyStopping {
  if (typeof threshold !== "number" || !(threshold > 0 && threshold <= 1))
    throw bad(`earlyStopping.threshold must be above 0 and at most 1, got ${threshold}`);
  return { threshold };
}

function chooseAgents<A extends PlannedAgent>(
  { agents }: { readonly agents: readonly A[] },
  order: readonly string[] | undefined,
): readonly A[] {
  if (order === undefined) return agents;
  const known = new Map(agents.map((agent) => [agent.id, agent]));
  const unknown = order.find((id) => !known.has(id));
  if (unknown !== undefined)
    throw bad(`order names an unknown agent '${unknown}'; agents are ${[...known.keys()].join(", ")}`);
  if (order.length === 0 || new Set(order).size !== order.length)
    throw bad(`order must name at least one agent and none twice, got ${order.join(", ") || "none"}`);
  return order.flatMap((id) => known.get(id) ?? []);
}

function chooseEdges<E extends PlannedEdge>(
  { edges }: { readonly edges: readonly E[] },
  chosen: readonly string[] | undefined,
): readonly E[] {
  const known = new Set(edges.map((edge) => edge.id));
  const unknown = chosen?.find((id) => !known.has(id));
  if (unknown !== undefined)
    throw bad(`edges names an unknown edge '${unknown}'; edges are ${[...known].join(", ")}`);
  return edges.filter((edge) => chosen === undefined || chosen.includes(edge.id));
}

/** Keeps the edges between agents that take part; an edge is feedback if its receiver does not run later (rule 1). */
function arrangeEdges<E extends PlannedEdge>(
  edges: readonly E[],
  agents: readonly PlannedAgent[],
): readonly E[] {
  const place = new Map(agents.map(({ id }, index) => [id, index]));
  return edges.flatMap((edge) => {
    const [from, to] = [place.get(edge.from), place.get(edge.to)];
    return from === undefined || to === undefined ? [] : [{ ...edge, feedback: to <= from }];
  });
}

/** Refuses rows of another length, which the receiver would read as something else. */
function checkReplacements(
  { agents, edges }: Plannable<PlannedAgent, PlannedEdge>,
  replace: RunOptions["replace"] = {},
): void {
  for (const [id, replacement] of Object.entries(replace)) {
    const edge = edges.find((each) => each.id === id);
    if (!edge) throw bad(`replace names an unknown edge '${id}'`);
    if (replacement === "zeros") continue;
    const size = agents.find((agent) => agent.id === edge.to)?.hiddenSize;
    const wrong = replacement.find(
      ({ rows, columns, data }) => columns !== size || rows < 1 || data.length !== rows * columns,
    );
    if (wrong || replacement.length === 0) {
      const came = wrong ? `(${wrong.rows}, ${wrong.columns})` : "no matrix";
      throw bad(`replace['${id}'] must be 'zeros' or matrices of ${size} columns, got ${came}`);
    }
  }
}

/** Gives an agent's prompt with the question filled in; `round` counts from 0. It knows whether the agent is alone. */
export type Prompts = (agent: string, round: number) => readonly Filled[];

/** Options that prompts depend on. */
type PromptOptions = Pick<RunOptions, "question" | "fields" | "prompts" | "mode" | "order">;

/**
 * Parses every agent's prompts, the run's own prompts in place of the system's, and fills those that the run will read.
 *
 * @throws EngineError `bad-option` for an unknown agent or a field that a prompt needs and the question lacks,
 *   `bad-prompt` for a prompt that cannot be filled.
 */
export function planPrompts(system: Pick<System, "agents" | "edges">, options: PromptOptions): Prompts {
  const { question, fields, prompts: overrides = {}, order } = options;
  const ids = system.agents.map(({ id }) => id);
  const unknown = Object.keys(overrides).find((id) => !ids.includes(id));
  if (unknown !== undefined)
    throw bad(`prompts names an unknown agent '${unknown}'; agents are ${ids.join(", ")}`);
  const alone = isAlone(options);
  const taking = (order ?? ids).slice(alone ? -1 : 0);
  const values = { ...fields, question };
  const filled = new Map(
    system.agents.map((agent) => {
      const parsed = parsePrompts(system, agent, overrides[agent.id], alone);
      const fill = ({ spec, segments }: ParsedPrompt): readonly Filled[] => {
        if (!taking.includes(agent.id)) return [];
        const missing = missingField(segments, values);
        if (missing !== undefined) {
          throw bad(
            `agent '${agent.id}': its prompt needs the field '${missing}', which the question does not have; ` +
              "give it, if only as an empty text",
          );
        }
        const { prefix, suffix, trim } = spec;
        const message = fillTemplate(segments, values, trim);
        return joinText([{ kind: "text", text: prefix }, ...message, { kind: "text", text: suffix }]);
      };
      return [agent.id, { firstRound: fill(parsed.firstRound), laterRounds: fill(parsed.laterRounds) }];
    }),
  );
  return (agent, round) => filled.get(agent)?.[round === 0 ? "firstRound" : "laterRounds"] ?? [];
}

/** Whether the deciding agent is asked alone. */
function isAlone({ mode }: Pick<RunOptions, "mode">): boolean {
  return mode === "single" || mode === "loop";
}

/** A prompt, and what the chat template puts around it. */
interface ParsedPrompt {
  readonly spec: PromptSpec;
  readonly segments: readonly Segment[];
}

/** An agent's prompts by round. */
function parsePrompts(
  { edges }: Pick<System, "edges">,
  agent: AgentSpec,
  { prompt, firstRoundPrompt, singlePrompt }: PromptOverride = {},
  alone: boolean,
): { readonly firstRound: ParsedPrompt; readonly laterRounds: ParsedPrompt } {
  const arriving = edges.flatMap((edge) => (edge.to === agent.id ? [edge.id] : []));
  const parse = (spec: PromptSpec, template = spec.template): ParsedPrompt => {
    const problem = promptProblem(template, arriving);
    if (problem !== undefined) throw new EngineError("bad-prompt", `agent '${agent.id}': ${problem}`);
    return { spec, segments: parseTemplate(template) };
  };
  if (alone && (agent.singlePrompt || singlePrompt !== undefined)) {
    const single = parse(agent.singlePrompt ?? agent.prompt, singlePrompt);
    return { firstRound: single, laterRounds: single };
  }
  const laterRounds = parse(agent.prompt, prompt);
  // null in the run's own prompts means that the first round has no prompt of its own.
  const own = firstRoundPrompt === null ? null : agent.firstRoundPrompt;
  if (!own && typeof firstRoundPrompt !== "string") return { firstRound: laterRounds, laterRounds };
  return { firstRound: parse(own ?? agent.prompt, firstRoundPrompt ?? undefined), laterRounds };
}

/**
 * Names the columns of a question that an agent's prompts show or ask about, `question` left out, each once.
 *
 * @param prompts - the run's own prompts, by agent id.
 * @returns none for a prompt that cannot be read.
 */
export function fieldsOf(agent: AgentSpec, prompts: RunOptions["prompts"] = {}): readonly string[] {
  const { prompt, firstRoundPrompt, singlePrompt } = prompts[agent.id] ?? {};
  const templates = [
    firstRoundPrompt === undefined ? agent.firstRoundPrompt?.template : firstRoundPrompt,
    prompt ?? agent.prompt.template,
    singlePrompt ?? agent.singlePrompt?.template,
  ];
  const names = templates.flatMap((template) => (typeof template === "string" ? namesIn(template) : []));
  return [...new Set(names)].filter((name) => name !== "question");
}

function namesIn(template: string): readonly string[] {
  try {
    return fieldNames(parseTemplate(template));
  } catch {
    return [];
  }
}

/**
 * Says what is wrong with a prompt, without throwing: for a box that is being typed in.
 *
 * @param template - with `{question}`, `{field}` and `{latent:<edge id>}` slots; `{{` and `}}` are literal braces.
 * @param arriving - the ids of the edges that arrive at the agent.
 * @returns one line; undefined if nothing is wrong.
 */
export function promptProblem(template: string, arriving: readonly string[]): string | undefined {
  try {
    const stray = latentEdges(parseTemplate(template)).find((edge) => !arriving.includes(edge));
    if (stray === undefined) return undefined;
    const known = arriving.join(", ") || "none";
    return `prompt has a slot {latent:${stray}} without an edge; edges that arrive here: ${known}`;
  } catch (error) {
    return EngineError.from(error).message;
  }
}
