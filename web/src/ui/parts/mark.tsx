/** The sign of an agent or a mode: a shape and a colour, so that neither carries the meaning alone. */
import type { JSX } from "preact";
import type { SystemView } from "../model/system-view";

/** How many signs there are before they repeat. */
const MARKS = 6;

/** @returns the class that sets `--agent` to the agent's colour. */
export function agentClass(system: SystemView, agent: string): string {
  return `agent-${Math.max(0, indexOf(system, agent)) % MARKS}`;
}

export function indexOf(system: SystemView, agent: string): number {
  return system.agents.findIndex(({ id }) => id === agent);
}

const SHAPES: readonly ((r: number) => string)[] = [
  (r) => `M${-r},0 a${r},${r} 0 1,0 ${2 * r},0 a${r},${r} 0 1,0 ${-2 * r},0 Z`,
  (r) => polygon(4, r * 1.22, 0),
  (r) => polygon(4, r * 1.26, 45),
  (r) => polygon(3, r * 1.32, -90),
  (r) => polygon(6, r * 1.12, 0),
  (r) => polygon(5, r * 1.16, -90),
];

function polygon(corners: number, radius: number, turn: number): string {
  const points = Array.from({ length: corners }, (_, index) => {
    const angle = ((turn + (360 / corners) * index) * Math.PI) / 180;
    return `${(radius * Math.cos(angle)).toFixed(2)},${(radius * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${points.join(" L")} Z`;
}

/** @returns an SVG path around the origin. */
export function markPath(index: number, radius: number): string {
  return (SHAPES[Math.max(0, index) % MARKS] ?? SHAPES[0])?.(radius) ?? "";
}

/** Observable Plot's names for the signs. */
export const PLOT_SYMBOLS = ["circle", "diamond", "square", "triangle", "hexagon", "star"] as const;

export function plotSymbol(index: number): (typeof PLOT_SYMBOLS)[number] {
  return PLOT_SYMBOLS[index % MARKS] ?? "circle";
}

/** The colour that goes with a sign. */
export function markColour(index: number): string {
  return `var(--agent-${index % MARKS})`;
}

/** The sign in running text. */
export function Mark({ system, agent }: { system: SystemView; agent: string }): JSX.Element {
  return (
    <svg class={`mark ${agentClass(system, agent)}`} viewBox="-8 -8 16 16" aria-hidden="true">
      <path d={markPath(indexOf(system, agent), 5.4)} />
    </svg>
  );
}
