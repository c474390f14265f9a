/** Other graphs that a system's own links allow. Pure. */
import type { System } from "../../engine/api";
import type { PageState } from "./url";

type Arrangement = Pick<PageState, "order" | "off">;

/** One way to arrange a system's agents and links. */
export interface Shape {
  readonly id: "own" | "forward" | "reversed" | "apart";
  readonly hint: string;
  label(system: Pick<System, "pattern">): string;
  apply(system: Pick<System, "agents" | "edges">): Arrangement;
}

export const SHAPES: readonly Shape[] = [
  {
    id: "own",
    hint: "The graph that the links were trained for",
    label: ({ pattern }) => `${pattern}, as trained`,
    apply: () => ({ order: [], off: [] }),
  },
  {
    id: "forward",
    hint: "No thoughts go to the next round",
    label: () => "without feedback",
    apply: ({ edges }) => ({ order: [], off: edges.filter(({ feedback }) => feedback).map(({ id }) => id) }),
  },
  {
    id: "reversed",
    hint: "The last agent runs first; forward edges become feedback edges and vice versa",
    label: () => "in reverse order",
    apply: ({ agents }) => ({ order: agents.map(({ id }) => id).reverse(), off: [] }),
  },
  {
    id: "apart",
    hint: "Every agent thinks, but no thoughts are handed over",
    label: () => "without hand-offs",
    apply: ({ edges }) => ({ order: [], off: edges.map(({ id }) => id) }),
  },
];

/** @returns the shape that the settings produce; undefined if it is none of these. */
export function shapeOfSystem(
  system: Pick<System, "agents" | "edges">,
  { order, off }: Arrangement,
): Shape["id"] | undefined {
  const same = (a: readonly string[], b: readonly string[]): boolean => a.join("\n") === b.join("\n");
  const sorted = (names: readonly string[]): string[] => [...names].sort();
  return SHAPES.find((shape) => {
    const made = shape.apply(system);
    return same(made.order, order) && same(sorted(made.off), sorted(off));
  })?.id;
}
