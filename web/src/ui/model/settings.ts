/** From the page's state to what the engine is asked. */
import {
  type AgentSpec,
  arrangeEdges,
  type Decoding,
  type Mode,
  type PromptOverride,
  type RunOptions,
  type System,
} from "../../engine/api";
import { type SystemView, viewOf } from "./system-view";
import type { PageState } from "./url";

/** What a run will use, the system's own values where the page has none. */
export interface Effective {
  readonly mode: Mode;
  readonly rounds: number;
  readonly latentSteps: number;
  readonly decoding: Decoding;
  /** Agents that take part, in the order they run. */
  readonly agents: readonly AgentSpec[];
  /** Ids of the edges that carry something. */
  readonly edges: readonly string[];
}

/** Where the search tool asks once the visitor has switched it on. */
export const SEARCH_URL = "https://en.wikipedia.org/w/api.php";

export function effective(system: System, state: PageState): Effective {
  const agents = agentsInOrder(system, state.order);
  const own = system.decoding;
  return {
    mode: state.mode,
    rounds: state.rounds ?? system.rounds,
    latentSteps: state.latentSteps ?? system.latentSteps,
    decoding: {
      maxNewTokens: state.maxNewTokens ?? own.maxNewTokens,
      temperature: state.temperature ?? own.temperature,
      topP: state.topP ?? own.topP,
      seed: state.seed ?? own.seed,
      thinkBeforeAnswer: state.thinkBeforeAnswer ?? own.thinkBeforeAnswer,
      answerPrefix: state.answerPrefix ?? own.answerPrefix,
      textTokens: state.textTokens ?? own.textTokens,
    },
    agents,
    edges: arrangeEdges(system.edges, agents)
      .map((edge) => edge.id)
      .filter((id) => !state.off.includes(id)),
  };
}

/** Names in a link that the system does not have, or has already, are passed over. */
function agentsInOrder(system: System, order: readonly string[]): readonly AgentSpec[] {
  const known = new Map(system.agents.map((agent) => [agent.id, agent]));
  const chosen = [...new Set(order)].flatMap((id) => known.get(id) ?? []);
  return chosen.length > 0 ? chosen : system.agents;
}

/** The system as it will run: agents in the visitor's order and with the visitor's words for their parts. */
export function arranged(system: System, state: PageState): SystemView {
  const { agents } = effective(system, state);
  return viewOf({
    name: system.name,
    pattern: system.pattern,
    agents: agents.map((agent) => ({ ...agent, role: state.roles[agent.id] ?? agent.role })),
    edges: arrangeEdges(system.edges, agents),
  });
}

/** @returns the options of a run, complete, so that a saved trace says exactly what was asked. */
export function runOptions(system: System, state: PageState, question: string, search = false): RunOptions {
  const { mode, rounds, latentSteps, decoding, agents, edges } = effective(system, state);
  const prompts = promptOverrides(system, state);
  return {
    question,
    mode,
    rounds,
    latentSteps,
    decoding,
    edges,
    ...(state.order.length > 0 ? { order: agents.map(({ id }) => id) } : {}),
    ...(search ? { search: { url: SEARCH_URL } } : {}),
    ...(Object.keys(prompts).length > 0 ? { prompts } : {}),
  };
}

function promptOverrides(system: System, state: PageState): Record<string, PromptOverride> {
  const out: Record<string, PromptOverride> = {};
  for (const { id } of system.agents) {
    const prompt = state.prompts[id];
    const firstRoundPrompt = state.firstPrompts[id];
    if (prompt === undefined && firstRoundPrompt === undefined) continue;
    out[id] = {
      ...(prompt === undefined ? {} : { prompt }),
      ...(firstRoundPrompt === undefined ? {} : { firstRoundPrompt }),
    };
  }
  return out;
}
