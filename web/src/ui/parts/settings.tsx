/** Mode, rounds, latent steps, and the button that runs. */
import type { JSX } from "preact";
import type { Mode } from "../../engine/api";
import { formatBytes, formatPercent } from "../lib/format";
import { isChanged } from "../model/url";
import { useStore } from "../state/store";
import { Segments, Stepper } from "./controls";

/** The modes in the order of the paper's comparison. */
export const MODE_OPTIONS: readonly { value: Mode; label: string; hint: string }[] = [
  {
    value: "latent",
    label: "Latent",
    hint: "RecursiveMAS: agents hand over latent thoughts; only the last one writes",
  },
  {
    value: "text",
    label: "Text",
    hint: "TextMAS: the same agents and rounds, but they write their thoughts as text",
  },
  { value: "single", label: "Single", hint: "The deciding agent alone, without thoughts" },
  { value: "loop", label: "Loop", hint: "The deciding agent alone, looping on its own inner link" },
];

const MODE_WORDS: Record<Mode, string> = {
  latent: "Agents hand over thoughts, never words.",
  text: "The same agents, but they write to each other.",
  single: "The last agent alone, at once.",
  loop: "The last agent alone, thinking as long as all together.",
};

export function Settings(): JSX.Element {
  const { page, session } = useStore();
  const { mode, rounds, latentSteps } = page.state.value;
  const system = session.system.value;
  const disabled = session.busy.value || !system;
  return (
    <section class="settings" aria-label="Settings">
      <Segments
        legend="How they talk"
        name="mode"
        value={mode}
        options={MODE_OPTIONS}
        disabled={disabled}
        onChange={(value) => page.set({ mode: value })}
      />
      <p class="settings-words">{MODE_WORDS[mode]}</p>
      <div class="settings-pair">
        <Stepper
          label="Rounds"
          value={rounds ?? system?.rounds ?? 1}
          min={1}
          max={64}
          changed={rounds !== null && rounds !== system?.rounds}
          disabled={disabled || mode === "single"}
          onChange={(value) => page.set({ rounds: value === system?.rounds ? null : value })}
        />
        <Stepper
          label="Latent steps"
          value={latentSteps ?? system?.latentSteps ?? 1}
          min={1}
          max={1024}
          changed={latentSteps !== null && latentSteps !== system?.latentSteps}
          disabled={disabled || mode === "single"}
          onChange={(value) => page.set({ latentSteps: value === system?.latentSteps ? null : value })}
        />
      </div>
      {isChanged(page.state.value) && (
        <p class="settings-changed">
          Changed from the system’s own.{" "}
          <button type="button" class="link" disabled={session.busy.value} onClick={page.reset}>
            Reset
          </button>
        </p>
      )}
    </section>
  );
}

/** Downloads, runs or cancels: whatever comes next. Always in the same place. */
export function MainButton({ onRun }: { onRun: () => void }): JSX.Element {
  const { session, watch, question } = useStore();
  const system = session.system.value;
  const phase = session.phase.value;
  if (phase === "loading") {
    const share = session.loading.value.latest?.fraction ?? 0;
    return (
      <button type="button" class="primary cancel" onClick={() => session.cancelLoading()}>
        Cancel <small>{formatPercent(share)} loaded</small>
      </button>
    );
  }
  if (watch.live.value) {
    return (
      <button type="button" class="primary cancel" onClick={() => watch.cancel()}>
        Cancel
      </button>
    );
  }
  if (phase !== "ready") {
    const size = system?.files.reduce((sum, file) => sum + file.sizeBytes, 0) ?? 0;
    return (
      <button
        type="button"
        class="primary"
        disabled={!system || phase === "opening"}
        onClick={() => void session.load()}
      >
        {phase === "failed" ? "Load again" : "Load the agents"}{" "}
        <small>{system ? formatBytes(size) : "…"}</small>
      </button>
    );
  }
  return (
    <button
      type="button"
      class="primary"
      disabled={session.busy.value || question.value.text.trim() === ""}
      onClick={onRun}
    >
      {watch.recording.value ? "Run again" : "Run"}
    </button>
  );
}
