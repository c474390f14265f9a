/** Replays a run, step by step. */
import type { JSX } from "preact";
import type { RunEvent } from "../../engine/api";
import { formatRound } from "../lib/format";
import { useStore } from "../state/store";

const TEMPI = [0.5, 1, 2, 4] as const;

export function Transport(): JSX.Element {
  const { watch } = useStore();
  const recording = watch.recording.value;
  const events = recording?.events ?? [];
  const frame = watch.frame.value;
  const playing = watch.playing.value;
  const live = watch.job.running.value;
  const disabled = live || events.length === 0;
  const last = events[frame - 1]?.event;
  return (
    <div class="transport">
      <button
        type="button"
        class="icon play"
        disabled={disabled}
        aria-label={playing ? "Pause" : "Replay"}
        onClick={() => (playing ? watch.pause() : watch.play())}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path
            class="solid"
            d={playing ? "M4,3 h3 v10 h-3 Z M9,3 h3 v10 h-3 Z" : "M4,2.500 L13.500,8 L4,13.500 Z"}
          />
        </svg>
      </button>
      <input
        type="range"
        min={0}
        max={Math.max(1, events.length)}
        value={events.length === 0 ? 0 : frame}
        disabled={disabled}
        aria-label="Moment of the run"
        aria-valuetext={last ? describe(last) : "before the start"}
        onInput={(event) => {
          watch.pause();
          watch.seek(Number(event.currentTarget.value));
        }}
      />
      <output class="transport-at">{live ? "running" : last ? describe(last) : "not run yet"}</output>
      <label class="tempo">
        <span class="visually-hidden">Speed of the replay</span>
        <select
          value={String(watch.tempo.value)}
          disabled={disabled}
          onChange={(event) => {
            watch.setTempo(Number(event.currentTarget.value));
          }}
        >
          {TEMPI.map((tempo) => (
            <option key={tempo} value={String(tempo)}>{`${tempo}×`}</option>
          ))}
        </select>
      </label>
    </div>
  );
}

/** Describes an event in a few words. */
function describe(event: RunEvent): string {
  const round = formatRound(event.round);
  switch (event.kind) {
    case "turn-start":
      return `${round}: the ${event.agent} reads`;
    case "step":
      return `${round}: the ${event.agent}, thought ${event.step + 1} of ${event.of}`;
    case "token":
      return event.answer ? `the ${event.agent} answers` : `${round}: the ${event.agent} writes`;
    case "handoff":
      return `${round}: ${event.from} hands over to ${event.to}`;
    case "turn-end":
      return `${round}: the ${event.agent} has finished`;
  }
}
