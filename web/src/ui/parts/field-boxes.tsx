/** Boxes for the columns of a question beside its text: facts of one agent, or what several agents read. */
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { allNames, type FieldPlan, type Fields, fieldLabel, textOf } from "../model/fields";
import type { SystemView } from "../model/system-view";
import { agentClass, Mark } from "./mark";

interface FieldBoxesProps {
  readonly plan: FieldPlan;
  /** As the page draws it. */
  readonly system: SystemView;
  readonly values: Fields;
  readonly disabled: boolean;
  readonly onChange: (name: string, text: string) => void;
}

export function FieldBoxes({
  plan,
  system,
  values,
  disabled,
  onChange,
}: FieldBoxesProps): JSX.Element | null {
  if (allNames(plan).length === 0) return null;
  const box = (name: string, agent?: string): JSX.Element => (
    <FieldBox
      key={name}
      {...{ name, agent, system, disabled }}
      text={textOf(values, name) ?? ""}
      onChange={(text) => onChange(name, text)}
    />
  );
  return (
    <div class="field-boxes">
      {plan.own.flatMap(({ agent, names }) => names.map((name) => box(name, agent)))}
      {plan.shared.map((name) => box(name))}
    </div>
  );
}

interface FieldBoxProps {
  readonly name: string;
  /** The only agent that reads it; undefined if several do. */
  readonly agent: string | undefined;
  readonly system: SystemView;
  readonly text: string;
  readonly disabled: boolean;
  readonly onChange: (text: string) => void;
}

function FieldBox({ name, agent, system, text, disabled, onChange }: FieldBoxProps): JSX.Element {
  const id = useId();
  return (
    <div class={`field-box ${agent === undefined ? "" : agentClass(system, agent)}`}>
      <label for={id}>
        {agent !== undefined && <Mark system={system} agent={agent} />}
        <b>{agent ?? "All agents"}</b> {fieldLabel(name, agent)}
        {agent !== undefined && system.agents.length > 1 && <small> only this agent reads it</small>}
      </label>
      <textarea
        id={id}
        rows={Math.max(2, Math.min(8, Math.ceil(text.length / 44) + (text.match(/\n/g)?.length ?? 0)))}
        spellcheck={false}
        value={text}
        disabled={disabled}
        placeholder="Nothing"
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </div>
  );
}
