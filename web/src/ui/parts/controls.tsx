/** Small form controls; each has a label and works with the keyboard. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { accepted } from "../lib/accepted";
import type { Job } from "../state/job";
import type { ReadOnly } from "../state/read-only";

interface StepperProps {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly onChange: (value: number) => void;
  /** Whether the value differs from the system's own. */
  readonly changed?: boolean;
  readonly disabled?: boolean | undefined;
}

/** A whole number between a minus and a plus button. */
export function Stepper({ label, value, min, max, onChange, changed, disabled }: StepperProps): JSX.Element {
  const id = useId();
  const within = (next: number): number => Math.max(min, Math.min(max, next));
  const set = (next: number): void => onChange(within(next));
  return (
    <div class={changed ? "stepper changed" : "stepper"}>
      <label for={id}>{label}</label>
      <div class="stepper-row">
        <button
          type="button"
          aria-label={`Fewer: ${label}`}
          disabled={disabled || value <= min}
          onClick={() => set(value - 1)}
        >
          −
        </button>
        <input
          id={id}
          type="number"
          inputMode="numeric"
          {...{ min, max, value, disabled }}
          onChange={(event) => {
            const next = accepted(event.currentTarget.value, { whole: true });
            // Preact redraws only what changed, so a refused text would stay in the field.
            event.currentTarget.value = String(next === undefined ? value : within(next));
            if (next !== undefined) set(next);
          }}
        />
        <button
          type="button"
          aria-label={`More: ${label}`}
          disabled={disabled || value >= max}
          onClick={() => set(value + 1)}
        >
          +
        </button>
      </div>
    </div>
  );
}

interface SegmentsProps<T extends string> {
  readonly legend: string;
  readonly name: string;
  readonly value: T;
  readonly options: readonly { readonly value: T; readonly label: string; readonly hint?: string }[];
  readonly onChange: (value: T) => void;
  readonly disabled?: boolean | undefined;
}

/** Radio buttons in a row. */
export function Segments<T extends string>(props: SegmentsProps<T>): JSX.Element {
  const { legend, name, value, options, onChange, disabled } = props;
  return (
    <fieldset class="segments" disabled={disabled}>
      <legend>{legend}</legend>
      <div class="segments-row">
        {options.map((option) => (
          <label
            key={option.value}
            class={option.value === value ? "segment on" : "segment"}
            title={option.hint}
          >
            <input
              type="radio"
              name={name}
              value={option.value}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
            />
            <span>{option.label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface JobButtonProps {
  readonly job: ReadOnly<Job>;
  /** Whether this is the main button of its view. */
  readonly strong?: boolean;
  readonly disabled: boolean;
  readonly onStart: () => void;
  readonly children: ComponentChildren;
}

/** Starts a job; cancels it while it runs. */
export function JobButton({ job, strong, disabled, onStart, children }: JobButtonProps): JSX.Element {
  const running = job.running.value;
  return (
    <button
      type="button"
      class={strong && !running ? "button strong" : "button"}
      disabled={disabled && !running}
      onClick={running ? () => job.cancel() : onStart}
    >
      {running ? "Cancel" : children}
    </button>
  );
}

/** A labelled value. */
export function Figure({
  label,
  children,
  title,
}: {
  label: string;
  children: ComponentChildren;
  title?: string | undefined;
}): JSX.Element {
  return (
    <div class="figure" title={title}>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Progress from 0 to 1. */
export function Bar({ share, label }: { share: number; label: string }): JSX.Element {
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      <span style={{ "--share": share }} />
    </div>
  );
}

/** Right or wrong, as a word, a sign and a colour. */
export function Verdict({
  right,
  expected,
}: {
  right: boolean | undefined;
  expected: string | undefined;
}): JSX.Element | null {
  if (right === undefined) return null;
  return (
    <span class={right ? "verdict right" : "verdict wrong"}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={right ? "M3,8.5 L6.7,12 L13,4.5" : "M4,4 L12,12 M12,4 L4,12"} />
      </svg>
      {right ? "right" : `wrong; the answer is ${expected ?? ""}`}
    </span>
  );
}
