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

/** What an agent is called where there is room for its role as well, each word said once. */
export function nameOf({ id, role }: Pick<AgentView, "id" | "role">): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_\s]+/g, " ");
  if (plain(id).includes(plain(role))) return id;
  return plain(role).includes(plain(id)) ? role : `${id} · ${role}`;
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
