/** The positions of things on the ring and the shapes of its ways, in units of the drawing. Pure. */
import type { Way } from "../task/hop";

export const SIZE = 300;
export const CENTRE = SIZE / 2;

/** Distances from the centre. */
const RADII = { ring: 118, letters: 137, walk: 100 } as const;

/** A longer way, in places, is drawn as a jump. */
const LONGEST_WALK = 3;
/** The height of a ferry's waves, and how many there are between two places. */
const [WAVE_HEIGHT, WAVES] = [2.6, 3];

interface Point {
  readonly x: number;
  readonly y: number;
}

/** @param place - counted clockwise from the top; it may be a fraction. */
export function placeAt(place: number, count: number, on: keyof typeof RADII): Point {
  return polar(place, count, RADII[on]);
}

function polar(place: number, count: number, radius: number): Point {
  const angle = (place / count) * 2 * Math.PI - Math.PI / 2;
  return { x: CENTRE + radius * Math.cos(angle), y: CENTRE + radius * Math.sin(angle) };
}

const print = ({ x, y }: Point): string => `${x.toFixed(1)},${y.toFixed(1)}`;

/** The way from a place to the next: roads and rails are arcs, and a ferry is a wave. A dash pattern draws the ties of rails. */
export function wayPath(way: Way, place: number, count: number): string {
  if (way !== "ferry") {
    const { ring } = RADII;
    return `M${print(polar(place, count, ring))} A${ring},${ring} 0 0 1 ${print(polar(place + 1, count, ring))}`;
  }
  const points = Array.from({ length: 8 * WAVES + 1 }, (_, index) => {
    const along = index / (8 * WAVES);
    const height = WAVE_HEIGHT * Math.sin(along * WAVES * 2 * Math.PI);
    return print(polar(place + along, count, RADII.ring + height));
  });
  return `M${points.join(" L")}`;
}

/** A leg of a walk, inside the ring. */
export function legPath(from: number, ahead: number, to: number, count: number): string {
  const [start, end] = [placeAt(from, count, "walk"), placeAt(to, count, "walk")];
  return ahead <= LONGEST_WALK
    ? `M${print(start)} A${RADII.walk},${RADII.walk} 0 0 1 ${print(end)}`
    : `M${print(start)} L${print(end)}`;
}
