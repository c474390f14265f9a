/** The part of a system that the page draws and that a saved run keeps. */

import type { SystemView } from "../../formats/generated/types";

export type { SystemView };
export type AgentView = SystemView["agents"][number];
export type EdgeView = SystemView["edges"][number];

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
