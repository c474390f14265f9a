/**
 * Reads the questions of the tiny systems' tasks, so that the page can draw them as rings.
 *
 * Source: training/recursivemas/training/tasks/: `a>b b~c c-a ? b@7` asks where one is after 7 hops from b, by roads,
 * ferries and rails; `… ? c d from a@5 h@5` asks which of c and d is reached from a or h. A thought of such a system
 * reads `place@hops left`.
 */

/** The kinds of ways from one place of the ring to the next. */
export type Way = "road" | "ferry" | "rail";

const WAYS: Readonly<Record<string, Way>> = { ">": "road", "~": "ferry", "-": "rail" };

/** A ring of places and a walk along it. */
export interface RingQuestion {
  /** The places in walking order, beginning with the first start. */
  readonly ring: readonly string[];
  /** The way that leaves each place. */
  readonly ways: readonly Way[];
  readonly hops: number;
  /** Indices of `ring` where walkers start; the first is 0. */
  readonly starts: readonly number[];
  /** The places among which the answer is; empty if it may be any. */
  readonly candidates: readonly string[];
}

/** The state of the walk that a thought describes. */
export interface RingState {
  readonly symbol: string;
  /** The hops that remain; undefined in an answer. */
  readonly left: number | undefined;
}

const NAME = "[^\\s>~@-]+";
const QUESTION = new RegExp(
  `^((?:${NAME}[>~-]${NAME}\\s+)+)\\?\\s+(?:((?:${NAME}\\s+)+)from\\s+)?((?:${NAME}@\\d+\\s*)+)$`,
);

/** @returns the question as a ring; undefined for any other question. */
export function parseRing(question: string): RingQuestion | undefined {
  const match = question.trim().match(QUESTION);
  if (!match) return undefined;
  const [, ways = "", candidates = "", starts = ""] = match;
  const walkers = split(starts).map((each) => each.split("@") as [string, string]);
  const hops = new Set(walkers.map(([, left]) => left));
  const first = walkers[0]?.[0] ?? "";
  const ring = followRing(split(ways), first);
  if (!ring || hops.size !== 1) return undefined;
  const places = walkers.map(([symbol]) => ring.ring.indexOf(symbol));
  if (places.includes(-1)) return undefined;
  return { ...ring, hops: Number(walkers[0]?.[1]), starts: places, candidates: split(candidates) };
}

const split = (text: string): string[] => text.split(/\s+/).filter((each) => each !== "");

/** @returns the places from `start` on; undefined unless all ways together form one ring. */
function followRing(ways: readonly string[], start: string): Pick<RingQuestion, "ring" | "ways"> | undefined {
  const next = new Map(
    ways.map((way) => {
      const [, from = "", kind = "", to = ""] = way.match(/^(.+?)([>~-])(.+)$/) ?? [];
      return [from, { to, way: WAYS[kind] ?? "road" }] as const;
    }),
  );
  const ring: string[] = [];
  for (let at: string | undefined = start; at !== undefined && !ring.includes(at); at = next.get(at)?.to) {
    ring.push(at);
  }
  const closed = next.get(ring.at(-1) ?? "")?.to === start;
  if (!closed || ring.length !== next.size || next.size !== ways.length) return undefined;
  return { ring, ways: ring.map((symbol) => next.get(symbol)?.way ?? "road") };
}

/** @returns the state of the walk that a token describes; undefined if it describes none. */
export function parseRingState(token: string, ring: readonly string[]): RingState | undefined {
  const match = token.trim().match(/^([^\s@]+?)(?:@(\d+))?$/);
  const symbol = match?.[1];
  if (symbol === undefined || !ring.includes(symbol)) return undefined;
  return { symbol, left: match?.[2] === undefined ? undefined : Number(match[2]) };
}
