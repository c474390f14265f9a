/** Lays out the graph: the agents' places and the edges between them, in pixels. Pure. */
import type { EdgeView, SystemView } from "./system-view";

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlacedEdge {
  readonly edge: EdgeView;
  /** SVG path from the sender's orbit to the receiver's. */
  readonly path: string;
  /** The place of a label. */
  readonly middle: Point;
  /** The direction in which the edge arrives, in degrees. */
  readonly angle: number;
  readonly end: Point;
}

export interface GraphLayout {
  readonly width: number;
  readonly height: number;
  /** The radii of an agent's disc and of its orbit of latent steps. */
  readonly radius: number;
  readonly orbit: number;
  readonly nodes: ReadonlyMap<string, Point>;
  readonly edges: readonly PlacedEdge[];
  /** The arrow from the last agent to its answer; undefined if there is no room for it. */
  readonly answer: { readonly from: Point; readonly to: Point } | undefined;
}

const MAX_GAP = 230;
const ROW_GAP = 166;
const CAPTION = 52;

/** An agent's column is the length of the longest path of forward edges that ends at it. */
export function columnsOf(system: SystemView): Map<string, number> {
  const columns = new Map<string, number>();
  for (const { id } of system.agents) {
    const before = system.edges
      .filter((edge) => !edge.feedback && edge.to === id)
      .map((edge) => (columns.get(edge.from) ?? 0) + 1);
    columns.set(id, Math.max(0, ...before));
  }
  return columns;
}

/** @param width - of the drawing; the rest follows from it. */
export function layOut(system: SystemView, width: number): GraphLayout {
  const columns = columnsOf(system);
  const count = Math.max(...columns.values()) + 1;
  const rows = Array.from({ length: count }, (_, column) =>
    [...columns].filter(([, each]) => each === column),
  );
  const most = Math.max(...rows.map((each) => each.length));
  const narrow = width < 520;
  const [radius, orbit] = narrow ? [24, 35] : [32, 47];
  const room = narrow ? 0 : 132;
  const side = orbit + 14;
  const gap = count === 1 ? 0 : Math.min(MAX_GAP, (width - room - 2 * side) / (count - 1));
  const left = (width - room - gap * (count - 1)) / 2;
  const top = orbit + 16 + (hasLongForward(system, columns) ? 44 : 0);
  const below = feedbackDepth(system, columns, most) + CAPTION;
  const height = top + (most - 1) * ROW_GAP + orbit + below;
  const middle = top + ((most - 1) * ROW_GAP) / 2;
  const nodes = new Map<string, Point>();
  rows.forEach((each, column) => {
    each.forEach(([id], index) => {
      nodes.set(id, { x: left + column * gap, y: middle + (index - (each.length - 1) / 2) * ROW_GAP });
    });
  });
  const decider = nodes.get(system.agents.at(-1)?.id ?? "");
  return {
    width,
    height,
    radius,
    orbit,
    nodes,
    edges: system.edges.map((edge) => placeEdge(edge, nodes, orbit)),
    answer:
      decider && room > 0
        ? {
            from: { x: decider.x + orbit + 5, y: decider.y },
            to: { x: decider.x + orbit + 46, y: decider.y },
          }
        : undefined,
  };
}

function hasLongForward(system: SystemView, columns: ReadonlyMap<string, number>): boolean {
  return system.edges.some(
    ({ feedback, from, to }) => !feedback && (columns.get(to) ?? 0) - (columns.get(from) ?? 0) > 1,
  );
}

/** The height that the deepest feedback arc needs below the last row. */
function feedbackDepth(system: SystemView, columns: ReadonlyMap<string, number>, rows: number): number {
  if (rows > 1) return 0;
  const spans = system.edges
    .filter(({ feedback }) => feedback)
    .map(({ from, to }) => Math.abs((columns.get(from) ?? 0) - (columns.get(to) ?? 0)));
  return spans.length === 0 ? 0 : 46 + 12 * Math.max(...spans);
}

function placeEdge(edge: EdgeView, nodes: ReadonlyMap<string, Point>, orbit: number): PlacedEdge {
  const from = nodes.get(edge.from) ?? { x: 0, y: 0 };
  const to = nodes.get(edge.to) ?? { x: 0, y: 0 };
  if (edge.from === edge.to) return selfLoop(edge, from, orbit);
  const sameRow = Math.abs(from.y - to.y) < 1;
  if (sameRow && edge.feedback) return under(edge, from, to, orbit);
  return bowed(edge, from, to, orbit, sameRow ? 0 : edge.feedback ? 26 : 10);
}

/** A shallow curve that bends `bow` pixels to the right of its direction. */
function bowed(edge: EdgeView, from: Point, to: Point, orbit: number, bow: number): PlacedEdge {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const [ux, uy] = [(to.x - from.x) / length, (to.y - from.y) / length];
  const long = bow === 0 && length > 1.5 * MAX_GAP;
  const side = long ? -110 : bow;
  const control = { x: (from.x + to.x) / 2 - uy * side, y: (from.y + to.y) / 2 + ux * side };
  const start = towards(from, control, orbit + 5);
  const end = towards(to, control, orbit + 9);
  return {
    edge,
    path: `M${print(start)} Q${print(control)} ${print(end)}`,
    middle: { x: (start.x + 2 * control.x + end.x) / 4, y: (start.y + 2 * control.y + end.y) / 4 },
    angle: degrees(control, end),
    end,
  };
}

/** A feedback arc below the row and its names. */
function under(edge: EdgeView, from: Point, to: Point, orbit: number): PlacedEdge {
  const depth = from.y + orbit + CAPTION + 34;
  const lean = Math.sign(to.x - from.x) * 8;
  const start = { x: from.x + lean, y: from.y + orbit + CAPTION - 6 };
  const end = { x: to.x - lean, y: to.y + orbit + CAPTION - 2 };
  const corner = 26;
  const path = [
    `M${print(start)}`,
    `V${(depth - corner).toFixed(1)}`,
    `Q${print({ x: start.x, y: depth })} ${print({ x: start.x + Math.sign(lean) * corner, y: depth })}`,
    `H${(end.x - Math.sign(lean) * corner).toFixed(1)}`,
    `Q${print({ x: end.x, y: depth })} ${print({ x: end.x, y: depth - corner })}`,
    `V${end.y.toFixed(1)}`,
  ].join(" ");
  return { edge, path, middle: { x: (from.x + to.x) / 2, y: depth }, angle: -90, end };
}

function selfLoop(edge: EdgeView, at: Point, orbit: number): PlacedEdge {
  const y = at.y + orbit + CAPTION - 4;
  const start = { x: at.x + 12, y };
  const end = { x: at.x - 12, y };
  const path = `M${print(start)} C${print({ x: at.x + 40, y: y + 44 })} ${print({ x: at.x - 40, y: y + 44 })} ${print(end)}`;
  return { edge, path, middle: { x: at.x, y: y + 33 }, angle: -60, end };
}

function towards(from: Point, to: Point, distance: number): Point {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  return {
    x: from.x + ((to.x - from.x) / length) * distance,
    y: from.y + ((to.y - from.y) / length) * distance,
  };
}

const degrees = (from: Point, to: Point): number =>
  (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
const print = ({ x, y }: Point): string => `${x.toFixed(1)},${y.toFixed(1)}`;
