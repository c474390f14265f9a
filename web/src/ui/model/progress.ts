/**
 * What a run has come to, from the events it reported: one pure function, so that a live run, a replay and an opened
 * trace are drawn by the same code.
 */
import type { RunEvent } from "../../engine/api";

/** An event and when it arrived, in ms since the run began. */
export interface TimedEvent {
  readonly at: number;
  readonly event: RunEvent;
}

/** A token that was decoded. */
export interface DecodedToken {
  readonly text: string;
  readonly answer: boolean;
}

/** One agent's turn so far. */
export interface TurnProgress {
  readonly round: number;
  readonly agent: string;
  readonly promptTokens: number;
  readonly latentRows: number;
  /** Latent steps taken. */
  readonly steps: number;
  /** Latent steps it will take. */
  readonly of: number;
  readonly tokens: readonly DecodedToken[];
  readonly done: boolean;
}

/** A hand-off that was made. */
export interface HandoffProgress {
  readonly round: number;
  readonly edge: string;
  readonly rows: number;
  readonly text: string;
  /** Index into `turns` of the sender's turn. */
  readonly turn: number;
}

/** Everything the drawing needs. */
export interface Progress {
  readonly turns: readonly TurnProgress[];
  readonly handoffs: readonly HandoffProgress[];
  /** Index into `turns` of the one going on. */
  readonly active: number | undefined;
  /** Edges whose hand-offs were the last thing that happened. */
  readonly travelling: readonly string[];
  readonly answer: string;
  readonly decodedTokens: number;
  readonly latentSteps: number;
  /** Positions of all agents' forward passes: prompts, spliced rows, latent steps after a turn's first, tokens. */
  readonly positions: number;
  /** GPU memory that is held, as the engine counted last; 0 before it did. */
  readonly liveBytes: number;
  /** Since the run began. */
  readonly ms: number;
}

export const NOTHING_YET: Progress = {
  turns: [],
  handoffs: [],
  active: undefined,
  travelling: [],
  answer: "",
  decodedTokens: 0,
  latentSteps: 0,
  positions: 0,
  liveBytes: 0,
  ms: 0,
};

/** @returns the progress after one more event. */
export function advance(before: Progress, { at, event }: TimedEvent): Progress {
  const counters = "counters" in event ? event.counters : undefined;
  return { ...change(before, event), liveBytes: counters?.liveBytes ?? before.liveBytes, ms: at };
}

function change(before: Progress, event: RunEvent): Progress {
  switch (event.kind) {
    case "turn-start":
      return {
        ...before,
        turns: [...before.turns, startTurn(event)],
        active: before.turns.length,
        travelling: [],
        positions: before.positions + event.promptTokens + event.latentRows,
      };
    case "step":
      return {
        ...changeLast(before, (turn) => ({ ...turn, steps: event.step + 1, of: event.of })),
        latentSteps: before.latentSteps + 1,
        // The first latent thought is read off the prompt's last position.
        positions: before.positions + (event.step > 0 ? 1 : 0),
      };
    case "token":
      return {
        ...changeLast(before, (turn) => ({
          ...turn,
          tokens: [...turn.tokens, { text: event.text, answer: event.answer }],
        })),
        answer: event.answer ? before.answer + event.text : before.answer,
        decodedTokens: before.decodedTokens + 1,
        positions: before.positions + 1,
      };
    case "handoff":
      return handOff(before, event);
    case "turn-end":
      return { ...changeLast(before, (turn) => ({ ...turn, done: true })), active: undefined };
  }
}

function handOff(before: Progress, event: RunEvent & { kind: "handoff" }): Progress {
  const { round, edge, rows, text = "" } = event;
  const carries = rows > 0 || text !== "";
  return {
    ...before,
    handoffs: [...before.handoffs, { round, edge, rows, text, turn: before.turns.length - 1 }],
    travelling: carries ? [...before.travelling, edge] : before.travelling,
  };
}

function startTurn(event: RunEvent & { kind: "turn-start" }): TurnProgress {
  const { round, agent, promptTokens, latentRows } = event;
  return { round, agent, promptTokens, latentRows, steps: 0, of: 0, tokens: [], done: false };
}

function changeLast(before: Progress, change: (turn: TurnProgress) => TurnProgress): Progress {
  const last = before.turns.at(-1);
  return last ? { ...before, turns: [...before.turns.slice(0, -1), change(last)] } : before;
}

/** @returns the progress after the first `count` events. */
export function progressAt(events: readonly TimedEvent[], count: number): Progress {
  return events.slice(0, count).reduce(advance, NOTHING_YET);
}

/**
 * @returns `progressAt` for someone who reads on: it goes on from the last moment read when that lies before, in the
 * same run, and so does not begin a long run anew at every event.
 */
export function progressReader(): typeof progressAt {
  let last: { events: readonly TimedEvent[]; count: number; progress: Progress } | undefined;
  return (events, count) => {
    const end = Math.min(count, events.length);
    const goesOn =
      last !== undefined && last.count <= end && last.events[last.count - 1] === events[last.count - 1];
    const [from, before] = last && goesOn ? [last.count, last.progress] : [0, NOTHING_YET];
    const progress = events.slice(from, end).reduce(advance, before);
    last = { events, count: end, progress };
    return progress;
  };
}
