/** The chapters of the guided run: the text, the part of the graph it explains, and where its replay ends. Pure. */
import type { RunEvent } from "../../engine/api";
import type { TimedEvent } from "./progress";

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

const TEMPLATES: readonly Template[] = [
  {
    title: "Several agents, one question",
    words: [
      "Each circle is a complete language model, with its own family, size and vocabulary. All of them read the question.",
      "The models are frozen. Only the links between them were trained.",
    ],
    point: "agents",
    ends: (event) => event.kind === "turn-start",
  },
  {
    title: "A latent thought",
    words: [
      "A language model turns its last hidden state into one word and discards the rest. Here the agent keeps the state itself, a vector of a hundred numbers or more. This is a latent thought: the bead that has just filled.",
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
      "Now the thoughts go to the next agent. Its vector space is different, and even has another number of dimensions. Each edge has its own outer link, which translates the thoughts. They then take the place of words in the next agent’s prompt.",
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

/** @param events - of a finished run. A chapter is left out if the event that ends it never happened. */
export function chaptersOf(events: readonly TimedEvent[]): Chapter[] {
  return TEMPLATES.flatMap(({ title, words, point, ends, nth = 1 }, index): Chapter[] => {
    if (index === TEMPLATES.length - 1) return [{ title, words, point, until: events.length }];
    const found = events.flatMap(({ event }, at) => (ends(event) ? [at + 1] : []))[nth - 1];
    return found === undefined ? [] : [{ title, words, point, until: found }];
  });
}

/** All chapters without a run, so there is nothing to replay. */
export const CHAPTERS_UNPLAYED: readonly Chapter[] = TEMPLATES.map(({ title, words, point }) => ({
  title,
  words,
  point,
  until: 0,
}));
