/** Pairwise similarity as a grid of colours: blue for unlike, orange for alike. The pointer and the arrow keys read the numbers. */
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { formatRound } from "../lib/format";
import type { Item, Space } from "../model/spaces";
import type { SystemView } from "../model/system-view";
import { agentClass, indexOf, markPath } from "./mark";
import { useWidth } from "./use-width";

const AXIS = 30;

export function Heatmap({ space, system }: { space: Space; system: SystemView }): JSX.Element {
  const [host, width] = useWidth<HTMLDivElement>(620);
  const at = useSignal<readonly [number, number] | undefined>(undefined);
  const size = space.items.length;
  const cell = Math.max(
    5,
    Math.min(34, Math.floor(((width > 700 ? Math.min(width - 250, 620) : width) - AXIS) / size)),
  );
  const side = AXIS + cell * size;
  const value = (i: number, j: number): number => space.similarity[i * size + j] ?? 0;
  const locate = (event: PointerEvent & { currentTarget: SVGSVGElement }): void => {
    const box = event.currentTarget.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - AXIS) / cell);
    const i = Math.floor((event.clientY - box.top - AXIS) / cell);
    at.value = i >= 0 && j >= 0 && i < size && j < size ? [i, j] : undefined;
  };
  const point = at.value && at.value[0] < size && at.value[1] < size ? at.value : undefined;
  return (
    <div class="heatmap" ref={host}>
      <svg
        width={side}
        height={side}
        role="application"
        // In lower case, because Preact does not rename the attributes of SVG.
        tabindex={0}
        aria-label={`${summary(space)}. Arrow keys read the squares.`}
        onKeyDown={(event) => {
          const [down, right] = ARROWS[event.key] ?? [0, 0];
          if (down === 0 && right === 0) return;
          event.preventDefault();
          const clamp = (index: number): number => Math.max(0, Math.min(size - 1, index));
          at.value = point ? [clamp(point[0] + down), clamp(point[1] + right)] : [0, 0];
        }}
        onPointerMove={locate}
        onPointerLeave={() => {
          at.value = undefined;
        }}
      >
        {space.items.map((item, index) => (
          <AxisMark
            key={`${item.agent}/${item.round}/${item.step}`}
            item={item}
            system={system}
            offset={AXIS + cell * (index + 0.5)}
          />
        ))}
        {space.items.flatMap((_, i) =>
          space.items.map((__, j) => (
            <rect
              key={i * size + j}
              class={value(i, j) < 0 ? "heat unlike" : "heat"}
              style={{ "--share": `${(Math.abs(value(i, j)) * 100).toFixed(1)}%` }}
              x={AXIS + j * cell}
              y={AXIS + i * cell}
              width={cell - (cell > 8 ? 1 : 0)}
              height={cell - (cell > 8 ? 1 : 0)}
            />
          )),
        )}
        {space.items.map((item, index) =>
          item.round > (space.items[index - 1]?.round ?? item.round) ? (
            <path
              key={index}
              class="heat-round"
              d={`M${AXIS + index * cell - 0.5},0 V${side} M0,${AXIS + index * cell - 0.5} H${side}`}
            />
          ) : null,
        )}
        {point && (
          <rect
            class="heat-at"
            x={AXIS + point[1] * cell - 1}
            y={AXIS + point[0] * cell - 1}
            width={cell + 1}
            height={cell + 1}
          />
        )}
      </svg>
      <div class="heat-side">
        <p class="heat-reading" aria-live="polite">
          {point ? (
            <Reading space={space} i={point[0]} j={point[1]} value={value(point[0], point[1])} />
          ) : (
            "Point at a square or use the arrow keys to read its value."
          )}
        </p>
        <div class="heat-legend" aria-hidden="true">
          <span>{space.id === "readings" ? "no words in common" : "opposite"}</span>
          <i class={space.id === "readings" ? "half" : ""} />
          <span>{space.id === "readings" ? "the same words" : "the same direction"}</span>
        </div>
      </div>
    </div>
  );
}

/** How far a key moves, in rows down and columns to the right. */
const ARROWS: Partial<Record<string, readonly [number, number]>> = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
};

function name({ agent, round, step }: Item): string {
  return `${agent}, ${formatRound(round)}, thought ${step + 1}`;
}

function Reading({
  space,
  i,
  j,
  value,
}: {
  space: Space;
  i: number;
  j: number;
  value: number;
}): JSX.Element | null {
  const [a, b] = [space.items[i], space.items[j]];
  if (!a || !b) return null;
  return (
    <>
      <b>{value.toFixed(2)}</b>
      <span>{name(a)}</span>
      <span>{name(b)}</span>
    </>
  );
}

/** The drawing in one sentence. */
function summary({ items, similarity, label }: Space): string {
  const size = items.length;
  const off = similarity.filter((_, index) => Math.floor(index / size) !== index % size);
  const mean = off.reduce((sum, value) => sum + value, 0) / Math.max(1, off.length);
  return `Similarity of ${label}: ${size} by ${size} values, ${mean.toFixed(2)} on average, from ${Math.min(...off).toFixed(2)} to ${Math.max(...off).toFixed(2)}`;
}

function AxisMark({ item, system, offset }: { item: Item; system: SystemView; offset: number }): JSX.Element {
  const path = markPath(indexOf(system, item.agent), 4.2);
  return (
    <g class={`axis-mark ${agentClass(system, item.agent)}`}>
      <path d={path} transform={`translate(${offset},${AXIS - 11})`} />
      <path d={path} transform={`translate(${AXIS - 11},${offset})`} />
    </g>
  );
}
