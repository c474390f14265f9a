/** The chapters of the guided run: the text, the part of the graph it explains, and where its replay ends. Pure. */
import type { RunEvent } from "../../engine/api";
import type { TimedEvent } from "./progress";
import type { AgentView } from "./system-view";

/** A part of the graph that a chapter points at. */
export type GraphPart = "agents" | "inner" | "outer" | "feedback" | "answer";

export interface Chapter {
  readonly title: string;
  readonly words: readonly string[];
  readonly point: GraphPart;
  /** How many events of the run the chapter shows. */
  readonly until: number;
}

interface Template {
  readonly title: string;
  readonly words: readonly string[];
  readonly point: GraphPart;
  /** Whether the chapter can end with an event. */
  readonly ends: (event: RunEvent) => boolean;
  /** Which of those events ends it, counted from 1. Default: the first. */
  readonly nth?: number;
}

/** What the chapters say of a system. */
export interface Guided {
  readonly agents: readonly AgentView[];
  /** Whether agents read facts that no other agent reads. */
  readonly apart: boolean;
}

const templates = ({ agents, apart }: Guided): readonly Template[] => [
  {
    title: "Several agents, one question",
    words: [
      `${circles(agents)} ${apart ? "They know different facts, so none of them can answer alone." : "All of them read the question."}`,
      "The models are frozen. Only the links between them were trained.",
    ],
    point: "agents",
    ends: (event) => event.kind === "turn-start",
  },
  {
    title: "A latent thought",
    words: [
      `A language model turns its last hidden state into one word and discards the rest. Here the agent keeps the state itself, a vector of ${sizes(agents)} numbers. This is a latent thought: the bead that has just filled.`,
      "A thought never becomes a word. The page only looks up the closest word, so that you have something to read.",
    ],
    point: "inner",
    ends: (event) => event.kind === "step",
  },
  {
    title: "The inner link",
    words: [
      "To continue thinking, an agent feeds its thought back into itself. A last hidden state is no valid input, so a small network, the inner link, translates one into the other. Each pass through it is one latent step.",
    ],
    point: "inner",
    ends: (event) => event.kind === "step",
    nth: 2,
  },
  {
    title: "The outer link",
    words: [
      `Now the thoughts go to the next agent. ${spaces(agents)} Each edge has its own outer link, which translates the thoughts. They then take the place of words in the next agent’s prompt.`,
      "Nothing was decoded, and no words passed between the agents.",
    ],
    point: "outer",
    ends: (event) => event.kind === "handoff",
  },
  {
    title: "A round, and the next",
    words: [
      "When every agent has had its turn, the round is over. The last agent’s thoughts return to the first along the dashed edge, and the same agents think again, with more to build on. This is the recursion in the name.",
    ],
    point: "feedback",
    ends: (event) => event.kind === "turn-start" && event.round === 1,
  },
  {
    title: "Only the last agent writes",
    words: [
      "In the last round, the last agent turns its state into words. The whole conversation decodes no other tokens. Agents that talk in text would decode tokens for every thought.",
    ],
    point: "answer",
    ends: () => false,
  },
];

/** Whether the agents are one model in several roles. */
function isOneModel(agents: readonly AgentView[]): boolean {
  return models(agents).size === 1;
}

/** The ids of the agents of each model; a saved run of version 0.1.0 does not name models. */
function models(agents: readonly AgentView[]): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const { id, model = id } of agents) groups.set(model, [...(groups.get(model) ?? []), id]);
  return groups;
}

function circles(agents: readonly AgentView[]): string {
  if (isOneModel(agents))
    return "The circles are one language model in several roles: each role reads another prompt.";
  const shared = [...models(agents).values()].find(({ length }) => length > 1);
  return shared
    ? `Each circle is a complete language model. The ${shared.join(" and the ")} are the same one, with different prompts.`
    : "Each circle is a complete language model, with its own family, size and vocabulary.";
}

/** `576`, or `96 to 160`. */
function sizes(agents: readonly AgentView[]): string {
  const all = agents.map(({ hiddenSize }) => hiddenSize);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  return least === most ? String(least) : `${least} to ${most}`;
}

function spaces(agents: readonly AgentView[]): string {
  if (isOneModel(agents))
    return "It is the same model, but a last hidden state is nothing that a model can read.";
  const all = new Set(agents.map(({ hiddenSize }) => hiddenSize)).size === agents.length;
  return `Its vector space is different${all ? ", and even has another number of dimensions" : ""}.`;
}

/** @param events - of a finished run. A chapter is left out if the event that ends it never happened. */
export function chaptersOf(guided: Guided, events: readonly TimedEvent[]): Chapter[] {
  const all = templates(guided);
  return all.flatMap(({ title, words, point, ends, nth = 1 }, index): Chapter[] => {
    if (index === all.length - 1) return [{ title, words, point, until: events.length }];
    const found = events.flatMap(({ event }, at) => (ends(event) ? [at + 1] : []))[nth - 1];
    return found === undefined ? [] : [{ title, words, point, until: found }];
  });
}

/** All chapters without a run, so there is nothing to replay. */
export function unplayedChapters(guided: Guided): readonly Chapter[] {
  return templates(guided).map(({ title, words, point }) => ({ title, words, point, until: 0 }));
}
