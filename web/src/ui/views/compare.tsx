/** The same question through latent, text, loop and single, side by side. */
import type { JSX } from "preact";
import type { Mode } from "../../engine/api";
import { formatCount, formatDuration } from "../lib/format";
import { NOTHING_YET } from "../model/progress";
import type { Asked } from "../model/recording";
import { lensesOf, shapeOf, verdict } from "../model/recording";
import { Verdict } from "../parts/controls";
import { Score } from "../parts/score";
import { COMPARED, type Lane } from "../state/compare";
import { useStore } from "../state/store";

const NAMES: Record<Mode, readonly [name: string, words: string]> = {
  latent: ["Latent", "Agents hand over thoughts; only the last one writes."],
  text: ["Text", "The same agents and rounds, but they write to each other."],
  loop: ["Loop", "The last agent alone, thinking as many steps as all together."],
  single: ["Single", "The last agent alone, answering at once."],
};

export function CompareView(): JSX.Element {
  const { compare, asked, session } = useStore();
  const lanes = compare.lanes.value;
  const running = compare.running.value;
  const current = asked.value;
  return (
    <div class="compare">
      <div class="view-head">
        <h2>Four ways to the same answer</h2>
        <div class="view-tools">
          {running ? (
            <button type="button" class="button" onClick={() => compare.cancel()}>
              Cancel
            </button>
          ) : (
            <button
              type="button"
              class="button strong"
              disabled={
                session.phase.value !== "ready" ||
                session.busy.value ||
                !current ||
                current.options.question.trim() === ""
              }
              onClick={() => current && void compare.start(current)}
            >
              {lanes.length === 0 ? "Compare on this question" : "Compare again"}
            </button>
          )}
        </div>
      </div>
      {lanes.length === 0 || !compare.asked.value ? (
        <>
          <p class="view-empty">
            One question, the same agents, the same rounds and steps. Words cost a decoded token each, and
            what is lost in writing them down stays lost; thoughts pass as they are.
          </p>
          {current && <Lanes lanes={WAITING} asked={current} />}
        </>
      ) : (
        <Lanes lanes={lanes} asked={compare.asked.value} />
      )}
    </div>
  );
}

/** What there will be, before the first comparison. */
const WAITING: readonly Lane[] = COMPARED.map((mode) => ({
  mode,
  state: "waiting",
  progress: NOTHING_YET,
  recording: undefined,
}));

/** The largest of each measure, which the bars are drawn against. */
interface Scale {
  readonly tokens: number;
  readonly positions: number;
  readonly ms: number;
}

function Lanes({ lanes, asked }: { lanes: readonly Lane[]; asked: Asked }): JSX.Element {
  const most = (value: (lane: Lane) => number): number => Math.max(1, ...lanes.map(value));
  const scale: Scale = {
    tokens: most(({ progress }) => progress.decodedTokens),
    positions: most(({ progress }) => progress.positions),
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
  const [name, words] = NAMES[mode];
  const ms = recording?.result?.ms ?? progress.ms;
  const look = (): void => {
    if (!recording) return;
    watch.open(recording);
    page.set({ view: "watch" });
  };
  return (
    <li class={`lane ${state}`}>
      <div class="lane-name">
        <h3>{name}</h3>
        <p>{words}</p>
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
          share={progress.positions / scale.positions}
          value={formatCount(progress.positions)}
        />
        <LaneBar label="time" share={ms / scale.ms} value={ms > 0 ? formatDuration(ms) : "–"} />
      </dl>
      <div class="lane-score">
        <Score
          system={asked.system}
          shape={{ ...shapeOf(asked.options), mode }}
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
