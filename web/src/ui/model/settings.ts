/** From the page's state to what the engine is asked. */
import {
  type AgentSpec,
  type Decoding,
  type EdgeSpec,
  type Plan,
  type PromptOverride,
  planRun,
  type RunOptions,
  type System,
} from "../../engine/api";
import { DECODING } from "../../formats/generated/names";
import { type SavedView, viewOf } from "./system-view";
import type { PageState } from "./url";

/** Where the search tool asks once the visitor has allowed it. */
export const SEARCH_URL = "https://en.wikipedia.org/w/api.php";

/** Plans the run that the page's state describes. Names in a link that the system does not have are ignored. */
export function planOf(system: System, state: PageState): Plan<AgentSpec, EdgeSpec> {
  const { mode, rounds, latentSteps, off } = state;
  return planRun(system, {
    mode,
    ...(rounds === null ? {} : { rounds }),
    ...(latentSteps === null ? {} : { latentSteps }),
    decoding: chosenDecoding(state),
    ...(state.earlyStopping && mode === "latent" && system.earlyStopping
      ? { earlyStopping: system.earlyStopping }
      : {}),
    ...chosenOrder(system, state),
    edges: system.edges.map(({ id }) => id).filter((id) => !off.includes(id)),
  });
}

/** The settings that the visitor changed. */
function chosenDecoding(state: PageState): Partial<Decoding> {
  const changed = DECODING.filter(({ name }) => state[name] !== null);
  return Object.fromEntries(changed.map(({ name }) => [name, state[name]]));
}

/** The visitor's order of agents; nothing if it names none of the system's agents. */
function chosenOrder(system: System, { order }: PageState): Pick<RunOptions, "order"> {
  const known = new Set(system.agents.map(({ id }) => id));
  const chosen = [...new Set(order)].filter((id) => known.has(id));
  return chosen.length > 0 ? { order: chosen } : {};
}

/** The system as it will run: the visitor's order of agents, the visitor's names for their roles, and all their edges. */
export function arranged(system: System, state: PageState): SavedView {
  const { agents, edges } = planRun(system, chosenOrder(system, state));
  return viewOf({
    name: system.name,
    pattern: system.pattern,
    agents: agents.map((agent) => ({ ...agent, role: state.roles[agent.id] ?? agent.role })),
    edges,
  });
}

/** @returns complete options of a run, so that a saved run says exactly what was asked. */
export function runOptions(
  system: System,
  state: PageState,
  question: string,
  search = false,
  fields: Readonly<Record<string, string>> = {},
): RunOptions {
  const { order, ...settings } = planOf(system, state).settings;
  const prompts = promptOverrides(system, state);
  return {
    question,
    ...(Object.keys(fields).length > 0 ? { fields } : {}),
    ...settings,
    ...(state.order.length > 0 ? { order } : {}),
    ...(search ? { search: { url: SEARCH_URL } } : {}),
    ...(Object.keys(prompts).length > 0 ? { prompts } : {}),
  };
}

function promptOverrides(
  system: System,
  { prompts, firstPrompts, singlePrompts }: PageState,
): Record<string, PromptOverride> {
  const changed = system.agents.filter(({ id }) =>
    [prompts, firstPrompts, singlePrompts].some((each) => Object.hasOwn(each, id)),
  );
  return Object.fromEntries(
    changed.map(({ id }) => [
      id,
      {
        ...(prompts[id] === undefined ? {} : { prompt: prompts[id] }),
        ...(firstPrompts[id] === undefined ? {} : { firstRoundPrompt: firstPrompts[id] }),
        ...(singlePrompts[id] === undefined ? {} : { singlePrompt: singlePrompts[id] }),
      },
    ]),
  );
}
