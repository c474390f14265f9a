/**
 * How far a run has come, derived from the events it reported. It is a pure function, so that the same code draws a live
 * run, a replay and a saved run.
 */
import type { RunEvent } from "../../engine/api";
import type { Lens } from "./recording";

/** An event and when it arrived, in ms since the run began. */
export interface TimedEvent {
  readonly at: number;
  readonly event: RunEvent;
}

/** A decoded token. */
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
  /** The likeliest tokens of its thoughts so far, if the run reads each of them. */
  readonly lens: Lens;
  readonly tokens: readonly DecodedToken[];
  /** Positions that the model computed, as the engine last reported; undefined if a saved run does not say. */
  readonly positions: number | undefined;
  /** Those of them that were not computed again; known when the turn has ended. */
  readonly kept: number;
  readonly done: boolean;
}

/** A completed hand-off. */
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
  /** Index of the running turn. */
  readonly active: number | undefined;
  /** Edges whose hand-offs are the latest events. */
  readonly travelling: readonly string[];
  readonly answer: string;
  readonly decodedTokens: number;
  readonly latentSteps: number;
  /** Positions that all models computed, as the engine reports them; undefined if a saved run does not say. */
  readonly positions: number | undefined;
  /** Those of them, in turns that have ended, that agents still had from the turn before. */
  readonly kept: number;
  /** GPU memory in use, as the engine last counted it; 0 before that. */
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
  kept: 0,
  liveBytes: 0,
  ms: 0,
};

/** @returns the progress after one more event. */
function advance(before: Progress, { at, event }: TimedEvent): Progress {
  const counters = "counters" in event ? event.counters : undefined;
  const after = change(before, event);
  return {
    ...after,
    positions: after.turns.reduce<number | undefined>(
      (sum, { positions }) => (sum === undefined || positions === undefined ? undefined : sum + positions),
      0,
    ),
    kept: after.turns.reduce((sum, turn) => sum + turn.kept, 0),
    liveBytes: counters?.liveBytes ?? before.liveBytes,
    ms: at,
  };
}

function change(before: Progress, event: RunEvent): Progress {
  switch (event.kind) {
    case "turn-start":
      return {
        ...before,
        turns: [...before.turns, startTurn(event)],
        active: before.turns.length,
        travelling: [],
      };
    case "step":
      return {
        ...changeLast(before, (turn) => ({
          ...turn,
          steps: event.step + 1,
          of: event.of,
          lens: event.lens ? [...turn.lens, event.lens] : turn.lens,
          positions: event.forwardPositions ?? turn.positions,
        })),
        latentSteps: before.latentSteps + 1,
      };
    case "token":
      return {
        ...changeLast(before, (turn) => ({
          ...turn,
          tokens: [...withoutTail(turn.tokens, event.replaces), { text: event.text, answer: event.answer }],
          positions: event.forwardPositions ?? turn.positions,
        })),
        answer: event.answer
          ? before.answer.slice(0, before.answer.length - (event.replaces ?? 0)) + event.text
          : before.answer,
        decodedTokens: before.decodedTokens + 1,
      };
    case "handoff":
      return handOff(before, event);
    case "turn-end":
      return {
        ...changeLast(before, (turn) => ({
          ...turn,
          positions: event.forwardPositions,
          kept: event.keptPositions ?? 0,
          done: true,
        })),
        // The decoded text, whatever was shown on the way.
        answer: before.turns.at(-1)?.tokens.some(({ answer }) => answer) ? event.text : before.answer,
        active: undefined,
      };
  }
}

/** @returns tokens whose joined text lacks its last `units` UTF-16 units. */
function withoutTail(tokens: TurnProgress["tokens"], units = 0): TurnProgress["tokens"] {
  let rest = units;
  return tokens
    .toReversed()
    .map((token) => {
      const kept = Math.max(0, token.text.length - rest);
      rest -= token.text.length - kept;
      return { ...token, text: token.text.slice(0, kept) };
    })
    .toReversed();
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
  return {
    round,
    agent,
    promptTokens,
    latentRows,
    steps: 0,
    of: 0,
    lens: [],
    tokens: [],
    positions: 0,
    kept: 0,
    done: false,
  };
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
 * @returns `progressAt` with a memory: if the last call stopped earlier in the same run, the next one continues from
 * there, so that a long run is not counted from the beginning at every event.
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
