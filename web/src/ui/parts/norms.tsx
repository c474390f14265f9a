/** The lengths of the thoughts, step by step. */
import type { JSX } from "preact";
import { useCallback } from "preact/hooks";
import type { Space } from "../model/spaces";
import type { SystemView } from "../model/system-view";
import { indexOf, Mark, markColour, plotSymbol } from "./mark";
import { Chart } from "./plot";
import { useWidth } from "./use-width";

const HEIGHT = 230;

export function Norms({ spaces, system }: { spaces: readonly Space[]; system: SystemView }): JSX.Element {
  const [host, width] = useWidth<HTMLDivElement>(760);
  const draw = useCallback(
    (plot: typeof import("@observablehq/plot"), available: number): Element => {
      const points = spaces.flatMap(({ items, norms = [] }) =>
        items.map(({ agent, round, step }, index) => ({
          agent,
          place: `${round + 1}.${step + 1}`,
          norm: norms[index] ?? 0,
          symbol: plotSymbol(indexOf(system, agent)),
          colour: markColour(indexOf(system, agent)),
        })),
      );
      const places = [...new Set(points.map(({ place }) => place))];
      return plot.plot({
        width: available,
        height: HEIGHT,
        marginLeft: 44,
        x: { type: "point", domain: places, label: "round.step" },
        y: { label: "length", grid: true, zero: true, ticks: 5 },
        symbol: { type: "identity" },
        marks: [
          plot.ruleY([0]),
          plot.lineY(points, { x: "place", y: "norm", z: "agent", stroke: "colour", strokeWidth: 1.5 }),
          plot.dot(points, { x: "place", y: "norm", fill: "colour", symbol: "symbol", r: 4.5 }),
        ],
      });
    },
    [spaces, system],
  );
  const range = spaces.map(
    ({ label, norms = [] }) =>
      `${label}: ${Math.min(...norms).toFixed(1)} to ${Math.max(...norms).toFixed(1)}`,
  );
  return (
    <div ref={host}>
      <p class="legend">
        {spaces.map(({ id, items }) => {
          const agent = items[0]?.agent ?? "";
          return (
            <span key={id}>
              <Mark system={system} agent={agent} /> {agent}
            </span>
          );
        })}
      </p>
      <Chart
        draw={draw}
        width={Math.min(width, 820)}
        height={HEIGHT}
        label={`Lengths. ${range.join("; ")}`}
      />
    </div>
  );
}
