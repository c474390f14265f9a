/** The part of a system that the page draws and that a saved run keeps. */

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

/** A graph of agents in the order in which they run; an engine's `System` is one. */
export interface SystemView {
  readonly name: string;
  readonly pattern: string;
  readonly agents: readonly AgentView[];
  readonly edges: readonly EdgeView[];
}

/** An agent's name and role, without repeating words. */
export function nameOf({ id, role }: Pick<AgentView, "id" | "role">): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_\s]+/g, " ");
  if (plain(id).includes(plain(role))) return id;
  return plain(role).includes(plain(id)) ? role : `${id} · ${role}`;
}

/** Reduces a system to the part that is drawn. */
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
