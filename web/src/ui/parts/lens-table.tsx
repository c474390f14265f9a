/** The logit lens of a whole run: a column for each thought, with its likeliest word on top. */
import type { JSX } from "preact";
import type { RunResult } from "../../engine/api";
import { formatPercent, formatRound, showToken } from "../lib/format";
import type { SystemView } from "../model/system-view";
import { agentClass, Mark } from "./mark";

/** A longer table would be of no use; it ends after this many thoughts. */
const MOST_COLUMNS = 240;

export function LensTable({ system, result }: { system: SystemView; result: RunResult }): JSX.Element {
  const turns = result.turns.filter(({ lens }) => lens !== undefined && lens.length > 0);
  const columns = turns.flatMap((turn) => (turn.lens ?? []).map((likely, step) => ({ turn, likely, step })));
  const shown = columns.slice(0, MOST_COLUMNS);
  const ranks = Math.max(0, ...shown.map(({ likely }) => likely.length));
  if (ranks === 0) {
    return (
      <p class="view-empty">
        This run has no latent thoughts to show: its agents wrote words or did not think.
      </p>
    );
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls
    <section class="lens-scroll" tabIndex={0} aria-label="The likeliest words of each thought">
      <table class="lens">
        <thead>
          <tr>
            {turns.map((turn) => (
              <th
                key={`${turn.round}/${turn.agent}`}
                colSpan={turn.lens?.length ?? 1}
                scope="colgroup"
                class={turnClass(turn, turns)}
              >
                <Mark system={system} agent={turn.agent} />
                <span>{turn.agent}</span>
                <small>{formatRound(turn.round)}</small>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: ranks }, (_, rank) => (
            <tr key={rank}>
              {shown.map(({ turn, likely, step }) => {
                const each = likely[rank];
                return (
                  <td
                    key={`${turn.round}/${turn.agent}/${step}`}
                    class={`${agentClass(system, turn.agent)}${step === 0 ? " first" : ""}`}
                    style={{ "--share": each?.probability ?? 0 }}
                    title={each && `${showToken(each.text)} ${formatPercent(each.probability)}`}
                  >
                    <code>{each ? showToken(each.text) : ""}</code>
                    <small>{each ? formatPercent(each.probability) : ""}</small>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
      {columns.length > shown.length && (
        <p class="fine">
          The table shows the first {MOST_COLUMNS} of {columns.length} thoughts.
        </p>
      )}
    </section>
  );
}

function turnClass(turn: { round: number }, turns: readonly { round: number }[]): string {
  return turns.find(({ round }) => round === turn.round) === turn && turn.round > 0 ? "new-round" : "";
}
