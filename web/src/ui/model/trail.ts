/** The walk along a ring that the agents' thoughts and words describe. */
import type { TaskQuestion, TokenProbability } from "../../engine/api";
import { parseRing, parseRingState, type RingQuestion } from "../task/hop";
import type { Progress } from "./progress";
import type { Lens } from "./recording";

/** A place that a thought names, and its probability. A thought may name several places. */
export interface Foothold {
  readonly place: number;
  readonly share: number;
}

/** One thought or word. */
export interface Footstep {
  readonly agent: string;
  readonly round: number;
  /** The likeliest place first; empty if the thought names no place of the ring. */
  readonly places: readonly Foothold[];
  readonly token: string;
}

/** Less likely places are not drawn. */
const LEAST_SHARE = 0.15;

/**
 * @param lenses - by turn; a turn has no footsteps before its lens arrives.
 * @returns the thoughts and words so far, in order.
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

/** A leg of the walk. */
export interface Leg {
  readonly step: Footstep;
  readonly from: number;
  readonly to: number;
  /** The number of places from `from` to `to` in walking order; 0 if the walker stays. */
  readonly ahead: number;
  readonly share: number;
}

/** Connects each place to the nearest earlier place behind it on the ring. */
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

/** @returns the place that is `hops` hops after the first start. */
export function destination({ ring, hops }: RingQuestion): string {
  return ring[hops % ring.length] ?? "";
}

/** How many held-out questions the page checks before it computes the right answers of the visitor's questions. */
const CONVINCING = 5;

/** @returns whether the task asks where the walk ends, judging by its own questions and answers. */
export function asksForDestination(held: readonly Pick<TaskQuestion, "question" | "answer">[]): boolean {
  const some = held.slice(0, CONVINCING);
  return (
    some.length > 0 &&
    some.every(({ question, answer }) => {
      const ring = parseRing(question);
      return ring !== undefined && ring.starts.length === 1 && destination(ring) === answer;
    })
  );
}

/** @returns the question about the same ring with another start or number of hops. */
export function askAgain(question: string, start: string, hops: number): string {
  return question.replace(/\?\s+\S+\s*$/, `? ${start}@${hops}`);
}
