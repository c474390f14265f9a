/** Labelled fields that are marked if their value differs from the system's own. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { accepted } from "../lib/accepted";

interface FieldProps<T> {
  readonly label: string;
  /** Stands below the field. */
  readonly hint: string;
  /** Whether the value differs from the system's own. */
  readonly changed: boolean;
  readonly value: T;
  readonly onChange: (value: T) => void;
}

interface NumberFieldProps extends FieldProps<number> {
  readonly min: number;
  readonly max: number;
  readonly whole: boolean;
}

export function NumberField(props: NumberFieldProps): JSX.Element {
  const { value, min, max, whole, onChange } = props;
  const id = useId();
  return (
    <Field id={id} {...props}>
      <input
        id={id}
        type="number"
        step={whole ? 1 : max <= 1 ? 0.01 : 0.1}
        {...{ min, max, value }}
        onChange={(event) => {
          const next = accepted(event.currentTarget.value, { min, max, whole });
          // Preact redraws only what changed, so a refused text would stay in the field.
          event.currentTarget.value = String(next ?? value);
          if (next !== undefined) onChange(next);
        }}
      />
    </Field>
  );
}

/** A line of text. */
export function TextField(props: FieldProps<string>): JSX.Element {
  const id = useId();
  return (
    <Field id={id} {...props}>
      <input
        id={id}
        type="text"
        value={props.value}
        onInput={(event) => props.onChange(event.currentTarget.value)}
      />
    </Field>
  );
}

export function CheckField({ label, hint, value, onChange }: FieldProps<boolean>): JSX.Element {
  return (
    <label class="check" title={hint || undefined}>
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.currentTarget.checked)} />
      {label}
    </label>
  );
}

function Field({
  id,
  label,
  hint,
  changed,
  children,
}: Pick<FieldProps<never>, "label" | "hint" | "changed"> & {
  readonly id: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <div class={changed ? "field changed" : "field"}>
      <label for={id}>{label}</label>
      {children}
      <small>{hint}</small>
    </div>
  );
}
