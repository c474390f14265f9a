/** The part of a system that the page draws and that a saved run keeps. */

import type { SystemView as SavedView } from "../../formats/generated/types";

export type { SavedView };

/** An agent as the page draws it: of a saved run, or of a manifest, where null stands for the run's own number. */
export interface AgentView extends Omit<SavedView["agents"][number], "latentSteps"> {
  readonly latentSteps?: number | null;
}
export interface SystemView extends Omit<SavedView, "agents"> {
  readonly agents: readonly AgentView[];
}
export type EdgeView = SystemView["edges"][number];

/** An agent's name and role, without repeating words. */
export function nameOf({ id, role }: Pick<AgentView, "id" | "role">): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_\s]+/g, " ");
  if (plain(id).includes(plain(role))) return id;
  return plain(role).includes(plain(id)) ? role : `${id} · ${role}`;
}

/** The last part of a model's name, without its owner, folder or registry; its family if that says no more than the agent's name. */
export function modelOf({ id, role, model, architecture }: AgentView): string {
  const last = model
    ?.replace(/^pypi:([^=]+).*$/, "$1")
    .split(/[/\\]/)
    .findLast(Boolean);
  return last && last !== id && last !== role ? last : architecture;
}

/** Reduces a system to the part that is drawn. */
export function viewOf(system: SystemView): SavedView {
  return {
    name: system.name,
    pattern: system.pattern,
    agents: system.agents.map(({ id, role, model, architecture, hiddenSize, latentSteps }) => ({
      id,
      role,
      ...(model === undefined ? {} : { model }),
      architecture,
      hiddenSize,
      ...(latentSteps ? { latentSteps } : {}),
    })),
    edges: system.edges.map(({ id, from, to, feedback }) => ({ id, from, to, feedback })),
  };
}
