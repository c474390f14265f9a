/** The part of a system that the page draws; a trace file holds this much of it. */

export interface AgentView {
  readonly id: string;
  readonly role: string;
  readonly architecture: string;
  readonly hiddenSize: number;
}

export interface EdgeView {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly feedback: boolean;
}

/** A graph of agents in the order they run; an engine's `System` is one. */
export interface SystemView {
  readonly name: string;
  readonly pattern: string;
  readonly agents: readonly AgentView[];
  readonly edges: readonly EdgeView[];
}

/** The system's own description reduced to what is drawn. */
export function viewOf(system: SystemView): SystemView {
  return {
    name: system.name,
    pattern: system.pattern,
    agents: system.agents.map(({ id, role, architecture, hiddenSize }) => ({
      id,
      role,
      architecture,
      hiddenSize,
    })),
    edges: system.edges.map(({ id, from, to, feedback }) => ({ id, from, to, feedback })),
  };
}
