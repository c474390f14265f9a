/** Change it: edges, prompts, decoding. Applied at once and kept in the link. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import type { AgentSpec, System } from "../../engine/api";
import { promptProblem } from "../lib/slots";
import { Graph } from "../parts/graph";
import { Mark } from "../parts/mark";
import { NOTHING_YET } from "../state/progress";
import { effective } from "../state/settings";
import { useStore } from "../state/store";
import { isChanged, type PageState } from "../state/url";

export function ChangeView(): JSX.Element {
  const { session, page } = useStore();
  const system = session.system.value;
  if (!system) return <div class="stage-blank" />;
  const disabled = session.busy.value;
  return (
    <div class="change">
      <div class="view-head">
        <h2>Make it another system</h2>
        <div class="view-tools">
          <CopyLink />
          <button
            type="button"
            class="button"
            disabled={disabled || !isChanged(page.state.value)}
            onClick={page.reset}
          >
            Back to the system’s own
          </button>
        </div>
      </div>
      <p class="view-lead">
        Whatever you change is used by the next run and kept in this page’s address, so a link carries it to
        others. The links between agents were trained for the system as it is; see what they make of yours.
      </p>
      <fieldset disabled={disabled}>
        <Edges system={system} />
        <Decoding system={system} />
        <section class="inside-part">
          <h3>Prompts</h3>
          <p>
            <code>{"{question}"}</code> stands for the question, <code>{"{latent:…}"}</code> for the thoughts
            that arrive over an edge.
          </p>
          {system.agents.map((agent) => (
            <Prompts key={agent.id} agent={agent} system={system} />
          ))}
        </section>
      </fieldset>
    </div>
  );
}

function CopyLink(): JSX.Element {
  const copied = useSignal(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(window.location.href);
      copied.value = true;
      setTimeout(() => {
        copied.value = false;
      }, 2000);
    } catch {
      window.prompt("The link to this configuration:", window.location.href);
    }
  };
  return (
    <button type="button" class="button" onClick={() => void copy()}>
      <span aria-live="polite">{copied.value ? "Copied" : "Copy link"}</span>
    </button>
  );
}

function Edges({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  const { off, latentSteps } = page.state.value;
  const toggle = (id: string, on: boolean): void =>
    page.set({ off: on ? off.filter((each) => each !== id) : [...off, id] });
  return (
    <section class="inside-part">
      <h3>Edges</h3>
      <Graph
        system={system}
        progress={NOTHING_YET}
        lenses={[]}
        latentSteps={latentSteps ?? system.latentSteps}
        off={off}
      />
      <div class="edge-checks">
        {system.edges.map((edge) => (
          <label key={edge.id}>
            <input
              type="checkbox"
              checked={!off.includes(edge.id)}
              onChange={(event) => toggle(edge.id, event.currentTarget.checked)}
            />
            <Mark system={system} agent={edge.from} />
            {edge.from} → {edge.to}
            {edge.feedback && <small class="edge-note-small">into the next round</small>}
          </label>
        ))}
      </div>
    </section>
  );
}

function Decoding({ system }: { system: System }): JSX.Element {
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

function NumberField({ label, value, own, min, max, step, hint, onChange }: NumberFieldProps): JSX.Element {
  const id = useId();
  return (
    <Field id={id} label={label} changed={value !== own} hint={hint ?? ""}>
      <input
        id={id}
        type="number"
        {...{ min, max, step, value }}
        onChange={(event) => {
          const next = Number(event.currentTarget.value);
          const valid = event.currentTarget.value !== "" && next >= min && next <= max;
          if (!valid) event.currentTarget.value = String(value);
          else onChange(next === own ? null : next);
        }}
      />
    </Field>
  );
}

function TextField({
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

function Prompts({ agent, system }: { agent: AgentSpec; system: System }): JSX.Element {
  const { page } = useStore();
  const { prompts, firstPrompts } = page.state.value;
  const edges = system.edges.filter(({ to }) => to === agent.id).map(({ id }) => id);
  const change = (
    name: "prompts" | "firstPrompts",
    before: Readonly<Record<string, string>>,
    text: string,
    own: string,
  ): void => {
    const { [agent.id]: _, ...others } = before;
    page.set({ [name]: text === own ? others : { ...others, [agent.id]: text } });
  };
  const first = agent.firstRoundPrompt;
  return (
    <div class="prompts">
      <h4>
        <Mark system={system} agent={agent.id} />
        {agent.id}
      </h4>
      {first && (
        <PromptArea
          label={`${agent.id}, in the first round`}
          own={first.template}
          text={firstPrompts[agent.id] ?? first.template}
          edges={edges}
          onChange={(text) => change("firstPrompts", firstPrompts, text, first.template)}
        />
      )}
      <PromptArea
        label={first ? `${agent.id}, in later rounds` : `${agent.id}, in every round`}
        own={agent.prompt.template}
        text={prompts[agent.id] ?? agent.prompt.template}
        edges={edges}
        onChange={(text) => change("prompts", prompts, text, agent.prompt.template)}
      />
    </div>
  );
}

interface PromptAreaProps {
  readonly label: string;
  readonly own: string;
  readonly text: string;
  readonly edges: readonly string[];
  readonly onChange: (text: string) => void;
}

function PromptArea({ label, own, text, edges, onChange }: PromptAreaProps): JSX.Element {
  const id = useId();
  const problem = promptProblem(text, edges);
  return (
    <div class={text === own ? "field wide" : "field wide changed"}>
      <label for={id}>{label}</label>
      <textarea
        id={id}
        rows={2}
        spellcheck={false}
        value={text}
        aria-invalid={problem !== undefined}
        aria-describedby={`${id}-hint`}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <small id={`${id}-hint`} class={problem ? "field-problem" : ""}>
        {problem ?? `slots: {question}${edges.map((edge) => `, {latent:${edge}}`).join("")}`}
      </small>
    </div>
  );
}
