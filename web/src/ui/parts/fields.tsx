/** Labelled fields that say when they differ from the system's own. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { accepted } from "../lib/accepted";

interface NumberFieldProps {
  readonly label: string;
  readonly value: number;
  readonly own: number;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly hint?: string;
  /** null: the system's own. */
  readonly onChange: (value: number | null) => void;
}

/** A number; the system's own when it is put back to that. */
export function NumberField({
  label,
  value,
  own,
  min,
  max,
  step,
  hint,
  onChange,
}: NumberFieldProps): JSX.Element {
  const id = useId();
  return (
    <Field id={id} label={label} changed={value !== own} hint={hint ?? ""}>
      <input
        id={id}
        type="number"
        {...{ min, max, step, value }}
        onChange={(event) => {
          const next = accepted(event.currentTarget.value, { min, max, whole: step === 1 });
          // What was typed would stay in the field otherwise: the page draws only what changed.
          event.currentTarget.value = String(next ?? value);
          if (next !== undefined) onChange(next === own ? null : next);
        }}
      />
    </Field>
  );
}

/** A line of text. */
export function TextField({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string;
  onChange: (text: string) => void;
}): JSX.Element {
  const id = useId();
  return (
    <Field id={id} label={label} changed={false} hint="fed to the agent, not decoded">
      <input id={id} type="text" value={value} onInput={(event) => onChange(event.currentTarget.value)} />
    </Field>
  );
}

interface FieldProps {
  readonly id: string;
  readonly label: string;
  readonly changed: boolean;
  readonly hint: string;
  readonly children: ComponentChildren;
}

function Field({ id, label, changed, hint, children }: FieldProps): JSX.Element {
  return (
    <div class={changed ? "field changed" : "field"}>
      <label for={id}>{label}</label>
      {children}
      <small>{hint}</small>
    </div>
  );
}
