/** The walk that an agent after the other takes along a ring, as their thoughts and words tell it. */
import type { TaskQuestion, TokenProbability } from "../../engine/api";
import { parseRing, parseRingState, type RingQuestion } from "../task/hop";
import type { Progress } from "./progress";
import type { Lens } from "./recording";

/** A place that a thought names, and how likely it is; a thought may hold several at once. */
export interface Foothold {
  readonly place: number;
  readonly share: number;
}

/** One thing thought or said. */
export interface Footstep {
  readonly agent: string;
  readonly round: number;
  /** Likeliest first; empty when the thought names no place of the ring. */
  readonly places: readonly Foothold[];
  readonly token: string;
}

/** A place less likely than this is not worth drawing. */
const LEAST_SHARE = 0.15;

/**
 * @param lenses - by turn; a turn whose lens has not arrived leaves no footsteps yet.
 * @returns what was thought and said so far, in order.
 */
export function footsteps(
  { ring }: RingQuestion,
  progress: Progress,
  lenses: readonly (Lens | undefined)[],
): Footstep[] {
  return progress.turns.flatMap((turn, index): Footstep[] => {
    const step = (likely: readonly TokenProbability[]): Footstep => ({
      agent: turn.agent,
      round: turn.round,
      places: footholds(likely, ring),
      token: likely[0]?.text ?? "",
    });
    const thoughts = (lenses[index] ?? []).slice(0, turn.steps).map(step);
    return [...thoughts, ...turn.tokens.map(({ text }) => step([{ tokenId: 0, text, probability: 1 }]))];
  });
}

function footholds(likely: readonly TokenProbability[], ring: readonly string[]): Foothold[] {
  const shares = new Map<number, number>();
  for (const { text, probability } of likely) {
    const state = parseRingState(text, ring);
    if (!state) continue;
    const place = ring.indexOf(state.symbol);
    shares.set(place, (shares.get(place) ?? 0) + probability);
  }
  return [...shares]
    .map(([place, share]) => ({ place, share }))
    .filter(({ share }) => share >= LEAST_SHARE)
    .sort((a, b) => b.share - a.share);
}

/** A leg of the walk: from where, how many places on. */
export interface Leg {
  readonly step: Footstep;
  readonly from: number;
  readonly to: number;
  /** Places from `from` on to `to`, in walking order; 0 when it stays. */
  readonly ahead: number;
  readonly share: number;
}

/** Joins each foothold to the one before it that is the shortest way back along the ring. */
export function legsOf({ ring, starts }: RingQuestion, steps: readonly Footstep[]): Leg[] {
  let before: readonly number[] = starts;
  return steps.flatMap((step) => {
    const legs = step.places.map(({ place, share }): Leg => {
      const ways = before.map((from) => ({ from, ahead: (place - from + ring.length) % ring.length }));
      const { from, ahead } = ways.reduce((best, way) => (way.ahead < best.ahead ? way : best));
      return { step, from, to: place, ahead, share };
    });
    if (step.places.length > 0) before = step.places.map(({ place }) => place);
    return legs;
  });
}

/** @returns the place that `hops` steps from the first start lead to. */
export function destination({ ring, hops }: RingQuestion): string {
  return ring[hops % ring.length] ?? "";
}

/** How many held-out questions must agree before a right answer is worked out for a question of one's own. */
const CONVINCING = 5;

/** @returns whether this task asks for where the walk ends, judged by its own questions and answers. */
export function asksForDestination(held: readonly TaskQuestion[]): boolean {
  const some = held.slice(0, CONVINCING);
  return (
    some.length > 0 &&
    some.every(({ question, answer }) => {
      const ring = parseRing(question);
      return ring !== undefined && ring.starts.length === 1 && destination(ring) === answer;
    })
  );
}

/** @returns the question of the same ring from another start, or with other hops. */
export function askAgain(question: string, start: string, hops: number): string {
  return question.replace(/\?\s+\S+\s*$/, `? ${start}@${hops}`);
}
