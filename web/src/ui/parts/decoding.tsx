/** Decoding settings. */
import type { JSX } from "preact";
import type { System } from "../../engine/api";
import { effective } from "../model/settings";
import type { PageState } from "../model/url";
import { useStore } from "../state/store";
import { NumberField, TextField } from "./fields";

export function Decoding({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  const state = page.state.value;
  const { decoding } = effective(system, state);
  const own = system.decoding;
  const put = (patch: Partial<PageState>): void => page.set(patch);
  return (
    <section class="inside-part">
      <h3>How the last agent writes</h3>
      <div class="fields">
        <NumberField
          label="Most tokens of an answer"
          value={decoding.maxNewTokens}
          own={own.maxNewTokens}
          min={1}
          max={4096}
          step={1}
          onChange={(value) => put({ maxNewTokens: value })}
        />
        <NumberField
          label="Temperature"
          value={decoding.temperature}
          own={own.temperature}
          min={0}
          max={10}
          step={0.1}
          hint="0 takes the likeliest token"
          onChange={(value) => put({ temperature: value })}
        />
        <NumberField
          label="Top p"
          value={decoding.topP}
          own={own.topP}
          min={0.01}
          max={1}
          step={0.01}
          hint="above temperature 0"
          onChange={(value) => put({ topP: value })}
        />
        <NumberField
          label="Seed"
          value={decoding.seed}
          own={own.seed}
          min={0}
          max={2 ** 31 - 1}
          step={1}
          hint="the same seed, the same answer"
          onChange={(value) => put({ seed: value })}
        />
        <NumberField
          label="Tokens a turn in text mode"
          value={decoding.textTokens ?? state.latentSteps ?? system.latentSteps}
          own={own.textTokens ?? state.latentSteps ?? system.latentSteps}
          min={1}
          max={4096}
          step={1}
          onChange={(value) => put({ textTokens: value })}
        />
        <TextField
          label="The answer opens with"
          value={decoding.answerPrefix}
          onChange={(text) => put({ answerPrefix: text === own.answerPrefix ? null : text })}
        />
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={decoding.thinkBeforeAnswer}
          onChange={(event) =>
            put({
              thinkBeforeAnswer:
                event.currentTarget.checked === own.thinkBeforeAnswer ? null : event.currentTarget.checked,
            })
          }
        />
        The last agent thinks before it answers
      </label>
    </section>
  );
}
