/** The prompts: what each agent reads around the question and the thoughts. */
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { type AgentSpec, promptProblem, type System } from "../../engine/api";
import { arranged, planOf } from "../model/settings";
import { useStore } from "../state/store";
import { Mark } from "./mark";

/** The prompts of every agent that takes part. */
export function AllPrompts({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  return (
    <section class="inside-part">
      <h3>Prompts</h3>
      <p>
        <code>{"{question}"}</code> stands for the question, and <code>{"{latent:…}"}</code> for the thoughts
        that arrive over an edge.
      </p>
      {planOf(system, page.state.value).agents.map((agent) => (
        <Prompts key={agent.id} agent={agent} system={system} />
      ))}
    </section>
  );
}

function Prompts({ agent, system }: { agent: AgentSpec; system: System }): JSX.Element {
  const { page } = useStore();
  const { prompts, firstPrompts, singlePrompts } = page.state.value;
  const edges = system.edges.filter(({ to }) => to === agent.id).map(({ id }) => id);
  const change = (
    name: "prompts" | "firstPrompts" | "singlePrompts",
    before: Readonly<Record<string, string>>,
    text: string,
    own: string,
  ): void => {
    const { [agent.id]: _, ...others } = before;
    page.set({ [name]: text === own ? others : { ...others, [agent.id]: text } });
  };
  const first = agent.firstRoundPrompt;
  const single = agent.singlePrompt;
  return (
    <div class="prompts">
      <h4>
        <Mark system={arranged(system, page.state.value)} agent={agent.id} />
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
      {single && (
        <PromptArea
          label={`${agent.id}, alone (single and loop mode)`}
          own={single.template}
          text={singlePrompts[agent.id] ?? single.template}
          edges={edges}
          onChange={(text) => change("singlePrompts", singlePrompts, text, single.template)}
        />
      )}
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
        rows={3}
        spellcheck={false}
        value={text}
        aria-invalid={problem !== undefined}
        aria-describedby={`${id}-hint`}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <small id={`${id}-hint`} class={problem ? "field-problem" : ""}>
        {problem ?? `Slots: {question}${edges.map((edge) => `, {latent:${edge}}`).join("")}`}
      </small>
    </div>
  );
}
