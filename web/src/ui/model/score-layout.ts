/** Lays out the score: a stave for each agent, time to the right, bar lines between rounds. In pixels. Pure. */
import type { PlannedTurn } from "../../engine/api";
import type { EdgeView, SystemView } from "./system-view";

export interface PlacedTurn extends Pick<PlannedTurn, "round" | "agent" | "answers"> {
  /** Latent steps, or the most tokens of a thought in text mode. */
  readonly slots: number;
  /** Whether the thoughts are written as text. */
  readonly writes: boolean;
  readonly y: number;
  /** The centre of each slot. */
  readonly slotsX: readonly number[];
  /** Where hand-offs arrive and where they leave. */
  readonly inX: number;
  readonly outX: number;
}

export interface ScoreLayout {
  readonly width: number;
  readonly height: number;
  /** Pixels between two slots. */
  readonly unit: number;
  readonly left: number;
  readonly staves: readonly { readonly agent: string; readonly y: number }[];
  readonly turns: readonly PlacedTurn[];
  readonly bars: readonly { readonly round: number; readonly x: number; readonly endX: number }[];
  /** Whether there are too many slots to draw each of them. */
  readonly condensed: boolean;
}

const TOP = 34;
const [STAVE, STAVE_COMPACT] = [62, 46];
const [MIN_UNIT, MAX_UNIT] = [7, 44];
/** Width of a character of an agent's name, in pixels. */
const NAME_CHARACTER = 7.6;
/** Gaps between two turns and between two rounds, in slots. */
const [TURN_GAP, ROUND_GAP] = [0.45, 0.7];
const MAX_SLOTS = 600;

/**
 * @param agents - the ids of the agents that get a stave.
 * @param width - the available width; the drawing is wider if its slots would come too close.
 * @param compact - whether staves stand closer together.
 */
export function layOutScore(
  turns: readonly PlannedTurn[],
  agents: readonly string[],
  width: number,
  compact = false,
): ScoreLayout {
  const narrow = width < 520;
  const stave = compact ? STAVE_COMPACT : STAVE;
  const longest = Math.max(0, ...agents.map(({ length }) => length));
  const left = narrow ? 30 : Math.max(90, 34 + longest * NAME_CHARACTER);
  const right = narrow ? 70 : 94;
  const rounds = Math.max(0, ...turns.map(({ round }) => round)) + 1;
  const slotsOf = (turn: PlannedTurn): number => turn.latentSteps + turn.textTokens;
  const slots = turns.reduce((sum, turn) => sum + slotsOf(turn), 0);
  const condensed = slots > MAX_SLOTS;
  const size = (turn: PlannedTurn): number => (condensed ? Math.max(6, slotsOf(turn) / 40) : slotsOf(turn));
  const units = turns.reduce((sum, turn) => sum + size(turn) + TURN_GAP, 0) + rounds * ROUND_GAP;
  // Rounded down, so that rounding errors never make the drawing wider than its space.
  const unit = Math.min(
    MAX_UNIT,
    Math.max(MIN_UNIT, Math.floor(((width - left - right) / units) * 100) / 100),
  );
  const y = (agent: string): number => TOP + stave * agents.indexOf(agent) + stave / 2;
  const placed: PlacedTurn[] = [];
  const bars: { round: number; x: number; endX: number }[] = [];
  let x = left;
  for (const turn of turns) {
    const last = bars.at(-1);
    if (last?.round !== turn.round) {
      if (last) last.endX = x + (ROUND_GAP * unit) / 2;
      bars.push({ round: turn.round, x: last ? last.endX : x, endX: x });
      x += ROUND_GAP * unit;
    }
    const wide = size(turn);
    const { round, agent, answers } = turn;
    const count = condensed ? 0 : slotsOf(turn);
    placed.push({
      ...{ round, agent, answers, slots: slotsOf(turn), writes: turn.textTokens > 0 },
      y: y(turn.agent),
      slotsX: Array.from({ length: count }, (_, index) => x + (index + 0.5) * unit),
      inX: x,
      outX: x + wide * unit,
    });
    x += (wide + TURN_GAP) * unit;
  }
  const end = Math.max(x + right, narrow ? 0 : width);
  const last = bars.at(-1);
  if (last) last.endX = x + (right > 90 ? right - 8 : right - 4);
  const height = TOP + stave * agents.length + 6;
  return {
    width: Math.max(end, width),
    height,
    unit,
    left,
    staves: agents.map((agent) => ({ agent, y: y(agent) })),
    turns: placed,
    bars,
    condensed,
  };
}

/** @returns the turn that reads a hand-off: in the same round, or in the next one for feedback. */
export function readerOf(
  turns: readonly PlacedTurn[],
  edge: EdgeView,
  round: number,
): PlacedTurn | undefined {
  const wanted = edge.feedback ? round + 1 : round;
  return turns.find((turn) => turn.agent === edge.to && turn.round === wanted);
}

/** @returns the agents that have a turn, in the system's order. */
export function stavesOf(system: SystemView, turns: readonly PlannedTurn[]): string[] {
  return system.agents.map(({ id }) => id).filter((id) => turns.some(({ agent }) => agent === id));
}
