/** Which agents take part, in what order, under which names, and which edges carry thoughts. */
import type { JSX } from "preact";
import type { AgentSpec, System } from "../../engine/api";
import { NOTHING_YET } from "../model/progress";
import { arranged, planOf } from "../model/settings";
import { SHAPES, type Shape, shapeOfSystem } from "../model/shapes";
import { openSystem } from "../state/open";
import { useStore } from "../state/store";
import { Graph } from "./graph";
import { Mark } from "./mark";

export function Arrange({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  const state = page.state.value;
  const shown = arranged(system, state);
  return (
    <section class="inside-part">
      <h3>The graph</h3>
      <Graph
        system={shown}
        progress={NOTHING_YET}
        lenses={[]}
        latentSteps={state.latentSteps ?? system.latentSteps}
        off={state.off}
      />
      <Pattern system={system} />
      <Order system={system} />
      <Edges system={system} />
    </section>
  );
}

/** The shapes that the trained links allow. Another pattern needs its own links and so is another system. */
function Pattern({ system }: { system: System }): JSX.Element {
  const { page, session } = useStore();
  const state = page.state.value;
  const current = shapeOfSystem(system, state);
  const others = session.catalog.value.filter((entry) => entry.pattern !== system.pattern);
  const choose = (shape: Shape): void => page.set(shape.apply(system));
  return (
    <fieldset class="pattern">
      <legend>Pattern</legend>
      <div class="pattern-row">
        {SHAPES.map((shape) => (
          <label key={shape.id} class={shape.id === current ? "chip on" : "chip"} title={shape.hint}>
            <input
              type="radio"
              name="pattern"
              checked={shape.id === current}
              onChange={() => choose(shape)}
            />
            <span>{shape.label(system)}</span>
          </label>
        ))}
      </div>
      {others.length > 0 && (
        <p class="fine">
          Systems with other patterns have their own links:{" "}
          {others.map((entry) => (
            <button
              key={entry.url}
              type="button"
              class="link"
              onClick={() => openSystem({ page }, entry.url)}
            >
              {`${entry.pattern} (${entry.name})`}
            </button>
          ))}
        </p>
      )}
    </fieldset>
  );
}

function Order({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  const { agents } = planOf(system, page.state.value);
  const absent = system.agents.filter((agent) => !agents.includes(agent));
  const set = (next: readonly AgentSpec[]): void => {
    const own = next.length === system.agents.length && next.every((each, i) => each === system.agents[i]);
    page.set({ order: own ? [] : next.map(({ id }) => id) });
  };
  const move = (index: number, by: number): void => {
    const next = [...agents];
    next.splice(index + by, 0, ...next.splice(index, 1));
    set(next);
  };
  return (
    <div class="order">
      <h4>Agents in the order in which they run; the last one answers</h4>
      <ol>
        {agents.map((agent, index) => (
          <li key={agent.id}>
            <AgentName agent={agent} system={system} />
            <span class="order-tools">
              <button
                type="button"
                class="icon"
                aria-label={`Run the ${agent.id} earlier`}
                disabled={index === 0}
                onClick={() => move(index, -1)}
              >
                ↑
              </button>
              <button
                type="button"
                class="icon"
                aria-label={`Run the ${agent.id} later`}
                disabled={index === agents.length - 1}
                onClick={() => move(index, 1)}
              >
                ↓
              </button>
              <button
                type="button"
                class="link"
                aria-label={`Leave out the ${agent.id}`}
                disabled={agents.length === 1}
                onClick={() => set(agents.filter((each) => each !== agent))}
              >
                Leave out
              </button>
            </span>
          </li>
        ))}
      </ol>
      {absent.length > 0 && (
        <p class="fine">
          Left out:{" "}
          {absent.map((agent) => (
            <button key={agent.id} type="button" class="link" onClick={() => set([agent, ...agents])}>
              {`bring back the ${agent.id}`}
            </button>
          ))}
        </p>
      )}
    </div>
  );
}

function AgentName({ agent, system }: { agent: AgentSpec; system: System }): JSX.Element {
  const { page } = useStore();
  const { roles } = page.state.value;
  const rename = (role: string): void => {
    const { [agent.id]: _, ...others } = roles;
    page.set({ roles: role.trim() === "" || role === agent.role ? others : { ...others, [agent.id]: role } });
  };
  return (
    <span class="order-name">
      <Mark system={arranged(system, page.state.value)} agent={agent.id} />
      <b>{agent.id}</b>
      <input
        type="text"
        maxLength={40}
        value={roles[agent.id] ?? agent.role}
        aria-label={`Role of the ${agent.id}`}
        onChange={(event) => rename(event.currentTarget.value)}
      />
    </span>
  );
}

function Edges({ system }: { system: System }): JSX.Element {
  const { page } = useStore();
  const { off } = page.state.value;
  const shown = arranged(system, page.state.value);
  const toggle = (id: string, on: boolean): void =>
    page.set({ off: on ? off.filter((each) => each !== id) : [...off, id] });
  return (
    <div class="edge-part">
      <h4>Edges that carry thoughts</h4>
      <div class="edge-checks">
        {shown.edges.map((edge) => (
          <label key={edge.id}>
            <input
              type="checkbox"
              checked={!off.includes(edge.id)}
              onChange={(event) => toggle(edge.id, event.currentTarget.checked)}
            />
            <Mark system={shown} agent={edge.from} />
            {edge.from} → {edge.to}
            {edge.feedback && <small class="edge-note-small">to the next round</small>}
          </label>
        ))}
      </div>
    </div>
  );
}
