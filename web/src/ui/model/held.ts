/** The part of a system that a device holds, if it does not hold all of it. */
import type { AgentSpec, FileSpec, System } from "../../engine/api";

/** @param held - ids; undefined: all agents. */
export function heldAgents(system: System, held: readonly string[] | undefined): readonly AgentSpec[] {
  return system.agents.filter(({ id }) => held?.includes(id) ?? true);
}

/** The files that a device downloads: those of its agents, and those that belong to no agent. */
export function heldFiles(system: System, held: readonly string[] | undefined): readonly FileSpec[] {
  const mine = heldAgents(system, held);
  const isOf = ({ path }: FileSpec, agents: readonly AgentSpec[]): boolean =>
    agents.some((agent) => path.startsWith(agent.path) || path === agent.modelLib);
  return system.files.filter((file) => isOf(file, mine) || !isOf(file, system.agents));
}

/** GPU memory of a device's agents and links, estimated; agents that share a checkpoint count once. */
export function heldMemory(system: System, held: readonly string[] | undefined): number {
  const sum = (agents: readonly AgentSpec[]): number =>
    [...new Map(agents.map(({ modelLib, memoryBytes }) => [modelLib, memoryBytes])).values()].reduce(
      (total, bytes) => total + bytes,
      0,
    );
  return Math.max(0, system.memoryBytes - sum(system.agents)) + sum(heldAgents(system, held));
}
