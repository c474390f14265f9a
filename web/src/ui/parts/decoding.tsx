/** The decoding settings, one control for each entry of the table. */
import type { JSX } from "preact";
import { type System, samplingOf } from "../../engine/api";
import type { DecodingSetting } from "../../formats/decoding";
import { DECODING } from "../../formats/generated/names";
import { planOf } from "../model/settings";
import type { PageState } from "../model/url";
import { useStore } from "../state/store";
import { CheckField, NumberField, TextField } from "./fields";

export function Decoding({ system }: { system: System }): JSX.Element {
  const controls = (checks: boolean): JSX.Element[] =>
    DECODING.filter(({ type }) => (type === "boolean") === checks).map((setting) => (
      <Control key={setting.name} setting={setting} system={system} />
    ));
  return (
    <section class="inside-part">
      <h3>How the last agent writes</h3>
      <div class="fields">{controls(false)}</div>
      {controls(true)}
    </section>
  );
}

function Control({ setting, system }: { setting: DecodingSetting; system: System }): JSX.Element {
  const { page } = useStore();
  const { name, type, title, description } = setting;
  const valueIn = (state: PageState): number | string | boolean => {
    const { settings, agents, textTokens } = planOf(system, state);
    const { decoding } = settings;
    const decider = agents.at(-1);
    // A system may leave a setting open; it then follows from the checkpoint of the agent that answers, or this limit
    // from the latent steps.
    const sampling: Partial<Record<typeof name, number>> = decider ? samplingOf(decoding, decider) : {};
    return decoding[name] ?? sampling[name] ?? textTokens;
  };
  const value = valueIn(page.state.value);
  const own = valueIn({ ...page.state.value, [name]: null });
  const put = (next: typeof value): void => page.set({ [name]: next === own ? null : next });
  const field = { label: title, hint: description, changed: value !== own };
  switch (type) {
    case "boolean":
      return <CheckField {...field} value={value === true} onChange={put} />;
    case "text":
      return <TextField {...field} value={String(value)} onChange={put} />;
    default: {
      const { min, max } = setting;
      return (
        <NumberField
          {...field}
          {...{ min, max }}
          whole={type === "integer"}
          value={Number(value)}
          onChange={put}
        />
      );
    }
  }
}
