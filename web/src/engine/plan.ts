/** What a run will do: its options checked against the system, its prompts parsed. Pure. */
import { EngineError } from "./errors";
import { type Filled, fillTemplate, latentEdges, parseTemplate, type Segment } from "./prompt";
import type { AgentSpec, EdgeSpec, PromptSpec, System } from "./system";
import type {
  Decoding,
  HandoffPath,
  HandoffReplacement,
  Mode,
  RunOptions,
  SearchOptions,
  TraceOptions,
} from "./types";

const MODES: readonly Mode[] = ["latent", "text", "single", "loop"];
const MAX_ROUNDS = 64;
const MAX_LATENT_STEPS = 1024;

/** A run with nothing left to default. */
export interface Plan {
  readonly question: string;
  readonly mode: Mode;
  readonly rounds: number;
  readonly latentSteps: number;
  readonly decoding: Decoding;
  readonly agents: readonly AgentSpec[];
  /** Edges that carry something, in declared order. */
  readonly edges: readonly EdgeSpec[];
  /** By edge id. */
  readonly replace: ReadonlyMap<string, HandoffReplacement>;
  readonly trace: TraceOptions;
  readonly search: SearchOptions | undefined;
  readonly handoff: HandoffPath;
  /** An agent's prompt with the question filled in; `round` counts from 0. */
  prompt(agent: string, round: number): readonly Filled[];
}

/** @throws EngineError `bad-option` or `bad-prompt`. */
export function planRun(system: System, options: RunOptions): Plan {
  const mode = options.mode ?? "latent";
  if (!MODES.includes(mode)) throw bad(`mode must be one of ${MODES.join(", ")}, got '${mode}'`);
  if (typeof options.question !== "string") throw bad("question must be a text");
  const prompts = new Map(system.agents.map((agent) => [agent.id, agentPrompts(agent, system, options)]));
  const agents = orderAgents(system, options.order);
  for (const id of Object.keys(options.prompts ?? {})) {
    if (!prompts.has(id))
      throw bad(`prompts names an unknown agent '${id}'; agents are ${[...prompts.keys()].join(", ")}`);
  }
  return {
    question: options.question,
    mode,
    rounds: within("rounds", options.rounds ?? system.rounds, 1, MAX_ROUNDS),
    latentSteps: within("latentSteps", options.latentSteps ?? system.latentSteps, 1, MAX_LATENT_STEPS),
    decoding: checkDecoding({ ...system.decoding, ...options.decoding }),
    agents,
    edges: arrangeEdges(chooseEdges(system, options.edges), agents),
    replace: checkReplacements(system, options.replace),
    trace: options.trace ?? {},
    search: options.search,
    handoff: options.handoff ?? "gpu",
    prompt: (agent, round) => {
      const [first, later] = prompts.get(agent) as [readonly Segment[], readonly Segment[]];
      return fillTemplate(round === 0 ? first : later, options.question);
    },
  };
}

function bad(problem: string): EngineError {
  return new EngineError("bad-option", problem);
}

function within(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw bad(`${name} must be a whole number from ${least} to ${most}, got ${value}`);
  }
  return value;
}

function checkDecoding(decoding: Decoding): Decoding {
  within("maxNewTokens", decoding.maxNewTokens, 1, Number.MAX_SAFE_INTEGER);
  within("seed", decoding.seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (decoding.textTokens !== null) within("textTokens", decoding.textTokens, 1, Number.MAX_SAFE_INTEGER);
  if (!(decoding.temperature >= 0 && decoding.temperature <= 10)) {
    throw bad(`temperature must be from 0 to 10, got ${decoding.temperature}`);
  }
  if (!(decoding.topP > 0 && decoding.topP <= 1))
    throw bad(`topP must be above 0 and at most 1, got ${decoding.topP}`);
  return decoding;
}

/** The agents that take part, in the order they run; the last one decides. */
function orderAgents(system: System, order: readonly string[] | undefined): readonly AgentSpec[] {
  if (order === undefined) return system.agents;
  const known = new Map(system.agents.map((agent) => [agent.id, agent]));
  const unknown = order.find((id) => !known.has(id));
  if (unknown !== undefined)
    throw bad(`order names an unknown agent '${unknown}'; agents are ${[...known.keys()].join(", ")}`);
  if (order.length === 0 || new Set(order).size !== order.length)
    throw bad(`order must name at least one agent and none twice, got ${order.join(", ") || "none"}`);
  return order.flatMap((id) => known.get(id) ?? []);
}

/** Edges between agents that take part; feedback where the receiver does not run later in the round (rule 1). */
export function arrangeEdges<E extends Pick<EdgeSpec, "from" | "to" | "feedback">>(
  edges: readonly E[],
  agents: readonly Pick<AgentSpec, "id">[],
): readonly E[] {
  const place = new Map(agents.map(({ id }, index) => [id, index]));
  return edges.flatMap((edge) => {
    const [from, to] = [place.get(edge.from), place.get(edge.to)];
    return from === undefined || to === undefined ? [] : [{ ...edge, feedback: to <= from }];
  });
}

function chooseEdges(system: System, chosen: readonly string[] | undefined): readonly EdgeSpec[] {
  const known = new Set(system.edges.map((edge) => edge.id));
  const unknown = chosen?.find((id) => !known.has(id));
  if (unknown !== undefined)
    throw bad(`edges names an unknown edge '${unknown}'; edges are ${[...known].join(", ")}`);
  return system.edges.filter((edge) => chosen === undefined || chosen.includes(edge.id));
}

/** Rows of another length would be read as something else by the receiver. */
function checkReplacements(
  system: System,
  replace: RunOptions["replace"] = {},
): ReadonlyMap<string, HandoffReplacement> {
  for (const [id, replacement] of Object.entries(replace)) {
    const edge = system.edges.find((each) => each.id === id);
    if (!edge) throw bad(`replace names an unknown edge '${id}'`);
    if (replacement === "zeros") continue;
    const size = system.agents.find((agent) => agent.id === edge.to)?.hiddenSize;
    const wrong = replacement.find(
      ({ rows, columns, data }) => columns !== size || rows < 1 || data.length !== rows * columns,
    );
    if (wrong || replacement.length === 0) {
      const came = wrong ? `(${wrong.rows}, ${wrong.columns})` : "no matrix";
      throw bad(`replace['${id}'] must be 'zeros' or matrices of ${size} columns, got ${came}`);
    }
  }
  return new Map(Object.entries(replace));
}

/** Parsed templates of round 1 and of later rounds, the chat template's text around them. */
function agentPrompts(
  agent: AgentSpec,
  system: System,
  options: RunOptions,
): [readonly Segment[], readonly Segment[]] {
  const override = options.prompts?.[agent.id] ?? {};
  const later = parsePrompt(agent, agent.prompt, override.prompt, system);
  if (override.firstRoundPrompt === null) return [later, later];
  const own = agent.firstRoundPrompt;
  if (override.firstRoundPrompt === undefined && own === null) return [later, later];
  return [parsePrompt(agent, own ?? agent.prompt, override.firstRoundPrompt, system), later];
}

/** Unbalanced braces, unknown slots and slots without an edge are refused; `override` keeps the chat template around it. */
function parsePrompt(
  agent: AgentSpec,
  spec: PromptSpec,
  override: string | undefined,
  system: System,
): readonly Segment[] {
  const segments = parseTemplate(override ?? spec.template);
  const incoming = system.edges.filter((edge) => edge.to === agent.id).map((edge) => edge.id);
  const stray = latentEdges(segments).find((edge) => !incoming.includes(edge));
  if (stray !== undefined) {
    throw new EngineError(
      "bad-prompt",
      `agent '${agent.id}': its prompt has a slot {latent:${stray}} without an edge; edges that arrive at it: ` +
        (incoming.join(", ") || "none"),
    );
  }
  return [{ kind: "text", text: spec.prefix }, ...segments, { kind: "text", text: spec.suffix }];
}
