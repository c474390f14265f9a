/** Early stopping: its switch, why a run stopped, and how much what is handed over changes from round to round. */
import type { JSX } from "preact";
import { useCallback } from "preact/hooks";
import type { RunOptions, RunResult, System } from "../../engine/api";
import { formatRound } from "../lib/format";
import type { SystemView } from "../model/system-view";
import { changesOf } from "../model/taken";
import { useStore } from "../state/store";
import { CheckField } from "./fields";
import { indexOf, Mark, markColour, plotSymbol } from "./mark";
import { Chart } from "./plot";
import { useWidth } from "./use-width";

const HEIGHT = 210;

/** The switch; nothing if the system has no threshold. */
export function EarlyStopSwitch({
  system,
  disabled,
}: {
  system: System;
  disabled: boolean;
}): JSX.Element | null {
  const { page } = useStore();
  const { earlyStopping, mode } = page.state.value;
  const threshold = system.earlyStopping?.threshold;
  if (threshold === undefined) return null;
  return (
    <fieldset class="early-switch" disabled={disabled || mode !== "latent"}>
      <CheckField
        label="Stop when rounds repeat"
        hint={`The run ends once a round hands back the same as the round before: every cosine is at least ${threshold}. This was calibrated on held-out questions.`}
        changed={earlyStopping === true}
        value={earlyStopping === true}
        onChange={(value) => page.set({ earlyStopping: value ? true : null })}
      />
    </fieldset>
  );
}

/** In which round a run stopped, and why; or that it took all of its rounds although it might have stopped. */
export function EarlyStopNote({
  options,
  result,
}: {
  options: RunOptions;
  result: RunResult;
}): JSX.Element | null {
  const threshold = options.earlyStopping?.threshold;
  if (threshold === undefined || result.mode !== "latent") return null;
  const { earlyStop } = result;
  return (
    <p class="early-note">
      {earlyStop
        ? `The run stopped in round ${earlyStop.round + 1} of ${options.rounds}: this round handed back the same as round ${earlyStop.round} (cosine ${cosine(earlyStop.similarity)}, at least ${threshold}), so a later round would repeat it.`
        : `The run took all ${result.rounds} rounds: no round before the last handed back the same as the round before it.`}
    </p>
  );
}

/** How alike each hand-off and that of the round before are, with the threshold as a line. */
export function Changes({
  system,
  options,
  result,
}: {
  system: SystemView;
  options: RunOptions;
  result: RunResult;
}): JSX.Element | null {
  const [host, width] = useWidth<HTMLDivElement>(760);
  const threshold = options.earlyStopping?.threshold;
  const draw = useCallback(
    (plot: typeof import("@observablehq/plot"), available: number): Element => {
      const points = changesOf(system, result).map(({ edge, round, similarity, feedback }) => {
        const from = indexOf(system, system.edges.find(({ id }) => id === edge)?.from ?? "");
        return {
          edge,
          feedback,
          similarity,
          round: String(round + 1),
          symbol: plotSymbol(from),
          colour: markColour(from),
        };
      });
      const rounds = Array.from({ length: Math.max(1, (options.rounds ?? result.rounds) - 1) }, (_, at) =>
        String(at + 2),
      );
      return plot.plot({
        width: available,
        height: HEIGHT,
        marginLeft: 44,
        marginRight: threshold === undefined ? 20 : 90, // room for the threshold's words
        insetBottom: 6, // a mark of a cosine below zero stays off the axis
        x: { type: "point", domain: rounds, label: "round" },
        y: {
          label: "cosine to the round before",
          grid: true,
          domain: [Math.min(0, ...points.map((each) => each.similarity)), 1],
          ticks: 5,
        },
        symbol: { type: "identity" },
        marks: [
          plot.ruleY([0]),
          ...(threshold === undefined
            ? []
            : [
                plot.ruleY([threshold], { stroke: "currentColor", strokeDasharray: "5 4" }),
                plot.text([threshold], {
                  y: (value: number) => value,
                  frameAnchor: "right",
                  dx: 8,
                  textAnchor: "start",
                  text: (value: number) => `stops at ${value}`,
                }),
              ]),
          plot.line(points, {
            x: "round",
            y: "similarity",
            z: "edge",
            stroke: "colour",
            strokeWidth: 1.5,
            strokeOpacity: (each: { feedback: boolean }) => (each.feedback ? 1 : 0.35),
          }),
          plot.dot(points, {
            x: "round",
            y: "similarity",
            fill: "colour",
            symbol: "symbol",
            r: 4.5,
            fillOpacity: (each: { feedback: boolean }) => (each.feedback ? 1 : 0.35),
          }),
        ],
      });
    },
    [system, options, result, threshold],
  );
  const changes = changesOf(system, result);
  if (changes.length === 0) return null;
  const shown = new Set(changes.map(({ edge }) => edge));
  const edges = system.edges.filter(({ id }) => shown.has(id));
  const spoken = changes.map(
    ({ edge, round, similarity }) => `${edge}, ${formatRound(round)}: ${cosine(similarity)}`,
  );
  return (
    <section class="inside-part">
      <h3>How much hand-offs still change</h3>
      <p>
        The least cosine between a hand-off and that of the round before, over its positions. What is handed
        back to the next round is drawn strongly: once it stays the same, every later round repeats.
      </p>
      <EarlyStopNote options={options} result={result} />
      <div ref={host}>
        <p class="legend">
          {edges.map(({ id, from, to }) => (
            <span key={id}>
              <Mark system={system} agent={from} /> {from} → {to}
            </span>
          ))}
        </p>
        <Chart
          draw={draw}
          width={Math.min(width, 820)}
          height={HEIGHT}
          label={`Cosines to the round before. ${spoken.join("; ")}${threshold === undefined ? "" : `; the run may stop at ${threshold}`}`}
        />
      </div>
    </section>
  );
}

/** So many digits that a value below 1 is not shown as 1. */
function cosine(value: number): string {
  return value > 0.9999 && value < 1 ? "above 0.9999" : value.toFixed(4);
}
