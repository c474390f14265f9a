/** The thoughts of a run as words: for each turn, the likeliest word of every latent thought, as they appear. */
import type { JSX } from "preact";
import { formatPercent, formatRound, showToken } from "../lib/format";
import type { Progress, TurnProgress } from "../model/progress";
import type { Lens } from "../model/recording";
import type { SystemView } from "../model/system-view";
import { agentClass, Mark } from "./mark";

interface ThoughtsProps {
  readonly system: SystemView;
  readonly progress: Progress;
  /** By turn; one that has not ended has none yet, but its progress has those of its thoughts so far. */
  readonly lenses: readonly (Lens | undefined)[];
}

export function Thoughts({ system, progress, lenses }: ThoughtsProps): JSX.Element {
  const turns = progress.turns
    .map((turn, index) => ({ turn, index }))
    .filter(({ turn }) => turn.of > 0 || !turn.done);
  return (
    <ol class="thoughts">
      {turns.map(({ turn, index }) => (
        <li key={index} class={agentClass(system, turn.agent)}>
          <span class="thoughts-who">
            <Mark system={system} agent={turn.agent} />
            {turn.agent} <small>{formatRound(turn.round)}</small>
          </span>
          <Words turn={turn} lens={lenses[index] ?? turn.lens} />
        </li>
      ))}
    </ol>
  );
}

function Words({ turn, lens }: { turn: TurnProgress; lens: Lens }): JSX.Element {
  const wait = turn.steps > 0 || turn.of > 0 ? `thought ${turn.steps} of ${turn.of}` : "reads its prompt";
  return (
    <span class="thoughts-words">
      {lens.map((likely, step) => {
        const [best] = likely;
        const all = likely.map(({ text, probability }) => `${showToken(text)} ${formatPercent(probability)}`);
        return (
          <code key={step} style={{ "--share": best?.probability ?? 0 }} title={all.join(", ")}>
            {best ? best.text.trim() || showToken(best.text) : "?"}
          </code>
        );
      })}
      {!turn.done && <span class="thoughts-wait">{wait}…</span>}
    </span>
  );
}
