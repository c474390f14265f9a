/** The guided run: what is said, what it points at, and up to which moment of the run it is played. Pure. */
import type { RunEvent } from "../../engine/api";
import type { TimedEvent } from "./progress";

/** A part of the graph that a chapter points at. */
export type GraphPart = "agents" | "inner" | "outer" | "feedback" | "answer";

export interface Chapter {
  readonly title: string;
  readonly words: readonly string[];
  readonly point: GraphPart;
  /** How many events of the run have happened when the chapter ends. */
  readonly until: number;
}

interface Template {
  readonly title: string;
  readonly words: readonly string[];
  readonly point: GraphPart;
  /** The event it ends with; the n-th that fits. */
  readonly ends: (event: RunEvent) => boolean;
  readonly nth?: number;
}

const TEMPLATES: readonly Template[] = [
  {
    title: "Several agents, one question",
    words: [
      "Each circle is a whole language model of its own: another family, another size, another vocabulary. All of them get the question.",
      "They were frozen before they met. What was trained are only the links between them.",
    ],
    point: "agents",
    ends: (event) => event.kind === "turn-start",
  },
  {
    title: "A latent thought",
    words: [
      "A language model turns its last hidden state into one word, and forgets the rest of it. Here the state itself is kept: a vector of some hundred numbers, the bead that has just filled. That is a latent thought.",
      "It is never a word. What you read beside it is the word it is closest to, looked up for you.",
    ],
    point: "inner",
    ends: (event) => event.kind === "step",
  },
  {
    title: "The inner link",
    words: [
      "To think on, an agent feeds its thought back to itself. But a last hidden state is not an input, so a small network, the inner link, translates the one into the other. Each turn of the circle is one latent step.",
    ],
    point: "inner",
    ends: (event) => event.kind === "step",
    nth: 2,
  },
  {
    title: "The outer link",
    words: [
      "Now the thoughts go to the next agent, whose space is quite another: not even the number of dimensions is the same. An outer link for this one edge translates them, and they are spliced into its prompt where words would stand.",
      "Nothing was decoded; no word has passed between them.",
    ],
    point: "outer",
    ends: (event) => event.kind === "handoff",
  },
  {
    title: "A round, and the next",
    words: [
      "When every agent has had its turn, the round is over, and the last one’s thoughts go back to the first along the dashed edge. The same agents think again, deeper: that is the recursion in the name.",
    ],
    point: "feedback",
    ends: (event) => event.kind === "turn-start" && event.round === 1,
  },
  {
    title: "Only the last one speaks",
    words: [
      "In the last round the last agent turns its state into words. Those are all the tokens that were decoded in the whole conversation; agents who talk in text would have paid for every thought with some.",
    ],
    point: "answer",
    ends: () => false,
  },
];

/** @param events - of a finished run; a chapter whose moment never came is left out. */
export function chaptersOf(events: readonly TimedEvent[]): Chapter[] {
  return TEMPLATES.flatMap(({ title, words, point, ends, nth = 1 }, index): Chapter[] => {
    if (index === TEMPLATES.length - 1) return [{ title, words, point, until: events.length }];
    const found = events.flatMap(({ event }, at) => (ends(event) ? [at + 1] : []))[nth - 1];
    return found === undefined ? [] : [{ title, words, point, until: found }];
  });
}

/** The same without a run: every chapter, nothing to play. */
export const CHAPTERS_UNPLAYED: readonly Chapter[] = TEMPLATES.map(({ title, words, point }) => ({
  title,
  words,
  point,
  until: 0,
}));
