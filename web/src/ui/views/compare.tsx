/** The same question in every mode, side by side. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { MODES } from "../../formats/generated/names";
import { formatCount, formatDuration } from "../lib/format";
import { modeOf } from "../model/modes";
import type { Asked } from "../model/recording";
import { lensesOf, verdict } from "../model/recording";
import { JobButton, Verdict } from "../parts/controls";
import { Estimate } from "../parts/estimate";
import { Score } from "../parts/score";
import { type Lane, WAITING } from "../state/compare";
import { useStore } from "../state/store";

export function CompareView(): JSX.Element {
  const { compare, asked, session } = useStore();
  const lanes = compare.lanes.value;
  const current = asked.value;
  return (
    <div class="compare">
      <div class="view-head">
        <h2>One question in every mode</h2>
        <div class="view-tools">
          <JobButton
            job={compare.job}
            strong
            disabled={
              session.phase.value !== "ready" || session.busy.value || !current?.options.question.trim()
            }
            onStart={() => current && void compare.start(current)}
          >
            {lanes.length === 0 ? "Compare on this question" : "Compare again"}
          </JobButton>
        </div>
      </div>
      {current && !compare.job.running.value && (
        <Estimate runs={MODES.map(({ name }) => ({ ...current.options, mode: name }))} />
      )}
      {lanes.length === 0 || !compare.asked.value ? (
        <>
          <p class="view-empty">
            Every mode gets the same question, agents, rounds and latent steps. Each word costs a decoded
            token, and whatever writing leaves out is lost. Latent thoughts pass on whole.
          </p>
          {current && <Lanes lanes={WAITING} asked={current} />}
        </>
      ) : (
        <Lanes lanes={lanes} asked={compare.asked.value} />
      )}
    </div>
  );
}

/** The largest value of each measure: the full length of a bar. */
interface Scale {
  readonly tokens: number;
  readonly positions: number;
  readonly ms: number;
}

function Lanes({ lanes, asked }: { lanes: readonly Lane[]; asked: Asked }): JSX.Element {
  const most = (value: (lane: Lane) => number): number => Math.max(1, ...lanes.map(value));
  const scale: Scale = {
    tokens: most(({ progress }) => progress.decodedTokens),
    positions: most(({ progress }) => progress.positions ?? 0),
    ms: most((lane) => lane.recording?.result?.ms ?? lane.progress.ms),
  };
  return (
    <ol class="lanes">
      {lanes.map((lane) => (
        <LaneRow key={lane.mode} lane={lane} scale={scale} asked={asked} />
      ))}
    </ol>
  );
}

function LaneRow({ lane, scale, asked }: { lane: Lane; scale: Scale; asked: Asked }): JSX.Element {
  const { watch, page } = useStore();
  const { mode, state, progress, recording } = lane;
  const { label, description } = modeOf(mode);
  const options = useMemo(() => ({ ...asked.options, mode }), [asked.options, mode]);
  const ms = recording?.result?.ms ?? progress.ms;
  const look = (): void => {
    if (!recording) return;
    watch.open(recording);
    page.set({ view: "watch" });
  };
  return (
    <li class={`lane ${state}`}>
      <div class="lane-name">
        <h3>{label}</h3>
        <p>{description}</p>
      </div>
      <div class="lane-answer" aria-live="polite" aria-busy={state === "running"}>
        <p>{progress.answer || (state === "running" ? "…" : state === "stopped" ? "stopped" : "–")}</p>
        {recording && <Verdict right={verdict(recording)} expected={recording.expected} />}
      </div>
      <dl class="lane-bars">
        <LaneBar
          label="decoded tokens"
          share={progress.decodedTokens / scale.tokens}
          value={formatCount(progress.decodedTokens)}
        />
        <LaneBar
          label="forward positions"
          share={(progress.positions ?? 0) / scale.positions}
          value={progress.positions === undefined ? "–" : formatCount(progress.positions)}
        />
        <LaneBar label="time" share={ms / scale.ms} value={ms > 0 ? formatDuration(ms) : "–"} />
      </dl>
      <div class="lane-score">
        <Score
          system={asked.system}
          options={options}
          compact
          progress={progress}
          lenses={recording ? lensesOf(recording.events) : []}
          selection={undefined}
          onSelect={undefined}
        />
        <button type="button" class="link" disabled={!recording} onClick={look}>
          Watch this run
        </button>
      </div>
    </li>
  );
}

function LaneBar({ label, share, value }: { label: string; share: number; value: string }): JSX.Element {
  return (
    <div>
      <dt>{label}</dt>
      <dd>
        <span class="lane-bar" style={{ "--share": Math.min(1, share) }} />
        <b>{value}</b>
      </dd>
    </div>
  );
}
