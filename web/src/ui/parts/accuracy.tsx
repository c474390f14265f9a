/** Charts of accuracy: by number of rounds, and by group of questions. */
import type { JSX } from "preact";
import { useCallback, useMemo } from "preact/hooks";
import type { Mode } from "../../engine/api";
import { MODES } from "../../formats/generated/names";
import { formatPercent } from "../lib/format";
import { modeOf } from "../model/modes";
import { orderGroups } from "../model/sample";
import { type GroupScore, groupScores, type Score, type Trial } from "../model/tally";
import { markColour, type PLOT_SYMBOLS, plotSymbol } from "./mark";
import { Chart } from "./plot";
import { TableScroll } from "./table-scroll";
import { useWidth } from "./use-width";

const HEIGHT = 300;

/** A mode's label, colour and sign in charts. */
function styleOf(mode: Mode): { label: string; colour: string; symbol: (typeof PLOT_SYMBOLS)[number] } {
  const index = MODES.findIndex(({ name }) => name === mode);
  const { label } = modeOf(mode);
  return { label, colour: markColour(index), symbol: plotSymbol(index) };
}

export function AccuracyChart({ scores }: { scores: readonly Score[] }): JSX.Element {
  const [host, width] = useWidth<HTMLDivElement>(760);
  const draw = useCallback(
    (plot: typeof import("@observablehq/plot"), available: number): Element => {
      const points = scores.map((score) => ({ ...score, ...styleOf(score.mode) }));
      const lines = points.filter(({ mode }) => modeOf(mode).rounds).sort((a, b) => a.rounds - b.rounds);
      const alone = points.filter(({ mode }) => !modeOf(mode).rounds);
      const rounds = [...new Set(lines.map((point) => point.rounds))];
      const ends = [...new Map(lines.map((point) => [point.mode, point])).values()];
      return plot.plot({
        width: available,
        height: HEIGHT,
        marginLeft: 46,
        marginRight: 70,
        x: { type: "point", domain: rounds.length > 0 ? rounds : [1], label: "rounds", padding: 0.35 },
        y: {
          domain: [0, 1],
          label: "right",
          grid: true,
          ticks: 5,
          tickFormat: (value: number) => formatPercent(value),
        },
        symbol: { type: "identity" },
        marks: [
          plot.ruleY([0]),
          plot.ruleY(alone, { y: "accuracy", stroke: "colour", strokeDasharray: "1 5", strokeWidth: 2 }),
          plot.text(alone, {
            y: "accuracy",
            text: "label",
            frameAnchor: "right",
            dx: 62,
            fill: "colour",
            textAnchor: "end",
          }),
          plot.ruleX(lines, { x: "rounds", y1: "low", y2: "high", stroke: "colour", strokeOpacity: 0.55 }),
          plot.lineY(lines, { x: "rounds", y: "accuracy", z: "mode", stroke: "colour", strokeWidth: 2.2 }),
          plot.dot(lines, { x: "rounds", y: "accuracy", fill: "colour", symbol: "symbol", r: 5.5 }),
          plot.text(ends, {
            x: "rounds",
            y: "accuracy",
            text: "label",
            dx: 12,
            textAnchor: "start",
            fill: "colour",
          }),
        ],
      });
    },
    [scores],
  );
  const words = scores.map(
    ({ mode, rounds, accuracy }) => `${mode}, ${rounds} rounds: ${formatPercent(accuracy)}`,
  );
  return (
    <figure class="chart-host" ref={host}>
      <Chart
        draw={draw}
        width={Math.min(width, 860)}
        height={HEIGHT}
        label={`Accuracy against rounds. ${words.join("; ")}`}
      />
      <figcaption>
        Share of right answers. Bars show 95 % intervals. Every mode got the same questions.
      </figcaption>
    </figure>
  );
}

/** Accuracy by group of questions, with a row for each number of rounds: shows where rounds help. */
export function GroupChart({ trials }: { trials: readonly Trial[] }): JSX.Element | null {
  const modes = useMemo(() => [...new Set(trials.map(({ mode }) => mode))], [trials]);
  if (trials.every(({ group }) => group === undefined)) return null;
  return (
    <>
      {modes.map((mode) => (
        <ModeGroups key={mode} mode={mode} cells={groupScores(trials, mode)} />
      ))}
    </>
  );
}

function ModeGroups({ mode, cells }: { mode: Mode; cells: readonly GroupScore[] }): JSX.Element | null {
  if (cells.length === 0) return null;
  const groups = orderGroups(cells.map(({ group }) => group));
  const rounds = [...new Set(cells.map((cell) => cell.rounds))].sort((a, b) => a - b);
  return (
    <section class="groups">
      <h3>
        Where rounds help: <i>{modeOf(mode).label}</i>
      </h3>
      <TableScroll label="Accuracy by group">
        <table class="group-table">
          <thead>
            <tr>
              <td class="corner">group</td>
              {groups.map((group) => (
                <th key={group} scope="col">
                  {group}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rounds.map((round) => (
              <tr key={round}>
                <th scope="row">{round === 1 ? "1 round" : `${round} rounds`}</th>
                {groups.map((group) => {
                  const cell = cells.find((each) => each.group === group && each.rounds === round);
                  return (
                    <td
                      key={group}
                      style={{ "--share": `${((cell?.accuracy ?? 0) * 100).toFixed(0)}%` }}
                      class={cell && cell.accuracy > 0.55 ? "high" : ""}
                    >
                      {cell ? formatPercent(cell.accuracy) : ""}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </section>
  );
}
