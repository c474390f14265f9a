/** Mode, rounds, latent steps, and the button that runs. */
import type { JSX } from "preact";
import { MAX_LATENT_STEPS, MAX_ROUNDS, MODES } from "../../formats/generated/names";
import { formatBytes, formatPercent, totalBytes } from "../lib/format";
import { heldFiles } from "../model/held";
import { modeOf } from "../model/modes";
import { isChanged } from "../model/url";
import type { Job } from "../state/job";
import type { ReadOnly } from "../state/read-only";
import { useStore } from "../state/store";
import { Segments, Stepper } from "./controls";
import { EarlyStopSwitch } from "./early-stop";
import { Estimate } from "./estimate";

export function Settings(): JSX.Element {
  const { page, session } = useStore();
  const { mode, rounds, latentSteps } = page.state.value;
  const system = session.system.value;
  const { description, rounds: hasRounds } = modeOf(mode);
  const disabled = session.busy.value || !system;
  return (
    <section class="settings" aria-label="Settings">
      <Segments
        legend="Mode"
        name="mode"
        value={mode}
        options={MODES.map(({ name, label, description }) => ({ value: name, label, hint: description }))}
        disabled={disabled}
        onChange={(value) => page.set({ mode: value })}
      />
      <p class="settings-words">{description}</p>
      <div class="settings-pair">
        <Stepper
          label="Rounds"
          value={rounds ?? system?.rounds ?? 1}
          min={1}
          max={MAX_ROUNDS}
          changed={rounds !== null && rounds !== system?.rounds}
          disabled={disabled || !hasRounds}
          onChange={(value) => page.set({ rounds: value === system?.rounds ? null : value })}
        />
        <Stepper
          label="Latent steps"
          value={latentSteps ?? system?.latentSteps ?? 1}
          min={1}
          max={MAX_LATENT_STEPS}
          changed={latentSteps !== null && latentSteps !== system?.latentSteps}
          disabled={disabled || !hasRounds}
          onChange={(value) => page.set({ latentSteps: value === system?.latentSteps ? null : value })}
        />
      </div>
      {system && <EarlyStopSwitch system={system} disabled={disabled} />}
      {isChanged(page.state.value) && (
        <p class="settings-changed">
          These settings differ from the system’s own.{" "}
          <button type="button" class="link" disabled={session.busy.value} onClick={page.reset}>
            Reset
          </button>
        </p>
      )}
    </section>
  );
}

/** Loads, runs the task's question or cancels. */
export function MainButton({ onRun }: { onRun: () => void }): JSX.Element {
  const { watch, question, asked } = useStore();
  return (
    <>
      <NextButton
        job={watch.job}
        disabled={question.value.text.trim() === ""}
        label={watch.recording.value ? "Run again" : "Run"}
        onRun={onRun}
      />
      {asked.value && <Estimate runs={[asked.value.options]} />}
    </>
  );
}

/** Loads, asks the visitor's own question or cancels. */
export function AskButton({ onAsk }: { onAsk: () => void }): JSX.Element {
  const { chat } = useStore();
  return <NextButton job={chat.job} disabled={chat.draft.value.trim() === ""} label="Ask" onRun={onAsk} />;
}

interface NextButtonProps {
  readonly job: ReadOnly<Job>;
  /** Whether there is nothing to run. */
  readonly disabled: boolean;
  readonly label: string;
  readonly onRun: () => void;
}

/** Downloads, runs or cancels, whichever comes next, always in the same place. */
function NextButton({ job, disabled, label, onRun }: NextButtonProps): JSX.Element {
  const { session } = useStore();
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
  if (job.running.value) {
    return (
      <button type="button" class="primary cancel" onClick={() => job.cancel()}>
        Cancel {session.entering.value && <small>{session.entering.value.label}</small>}
      </button>
    );
  }
  if (session.agents.value && !session.shared.value) {
    return (
      <button type="button" class="primary" disabled>
        Asked on the device that leads
      </button>
    );
  }
  if (phase !== "ready") {
    return (
      <button
        type="button"
        class="primary"
        disabled={!system || phase === "opening"}
        onClick={() => void session.load()}
      >
        {phase === "failed" ? "Load again" : "Load the agents"}{" "}
        <small>{system ? formatBytes(totalBytes(heldFiles(system, session.agents.value))) : "…"}</small>
      </button>
    );
  }
  return (
    <button type="button" class="primary" disabled={session.busy.value || disabled} onClick={onRun}>
      {label}
    </button>
  );
}
