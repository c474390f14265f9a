/** What the engine's plan says about one turn of a run: who takes it, what arrives and what it sends. Both sides check. */
import {
  EngineError,
  type PlannedEdge,
  type PlannedTurn,
  planPrompts,
  planRun,
  type RunOptions,
  type System,
} from "../engine/api";
import type { SavedOptions } from "../formats/generated/types";

/** A hand-off of a run: its edge, the round in which it is sent, and its shape; undefined for a text. */
export interface PlannedHandoff {
  readonly edge: PlannedEdge;
  readonly round: number;
  readonly shape: readonly [number, number] | undefined;
}

/** A turn with its hand-offs. */
export interface SharedTurn {
  readonly turn: PlannedTurn;
  readonly arrives: readonly PlannedHandoff[];
  readonly sends: readonly PlannedHandoff[];
}

/**
 * Plans all turns of a run.
 *
 * @throws EngineError as `planRun` and `planPrompts`.
 */
export function planTurns(system: System, options: RunOptions): readonly SharedTurn[] {
  const plan = planRun(system, options);
  const prompts = planPrompts(system, options);
  const sizes = new Map(system.agents.map(({ id, hiddenSize }) => [id, hiddenSize]));
  const sentBy = (turn: PlannedTurn, edge: PlannedEdge): PlannedHandoff => ({
    edge,
    round: turn.round,
    shape: turn.textTokens > 0 ? undefined : [turn.latentSteps, sizes.get(edge.to) ?? 0],
  });
  return plan.turns.map((turn, index) => {
    const slots = new Set(
      prompts(turn.agent, turn.round).flatMap((part) => (part.kind === "latent" ? [part.edge] : [])),
    );
    const arrives = plan.edges
      .filter(({ id, to }) => to === turn.agent && slots.has(id))
      .flatMap((edge) => {
        const sender = plan.turns
          .slice(0, index)
          .findLast(({ sends }) => sends.some(({ id }) => id === edge.id));
        return sender ? [sentBy(sender, edge)] : [];
      });
    return { turn, arrives, sends: turn.sends.map((edge) => sentBy(turn, edge)) };
  });
}

/** @returns a run's options as they travel, complete, without what only one device can do. */
export function sharedOptions(system: System, options: RunOptions): SavedOptions {
  const { settings } = planRun(system, options);
  const { lensTopK } = options.trace ?? {};
  return {
    question: options.question,
    ...(options.fields ? { fields: options.fields } : {}),
    ...settings,
    prompts: Object.entries(options.prompts ?? {}).map(([agent, each]) => ({ agent, ...each })),
    trace: { thoughts: options.trace?.thoughts ?? false, ...(lensTopK === undefined ? {} : { lensTopK }) },
  };
}

/**
 * @returns the options of a run that another device asks for.
 * @throws EngineError `bad-peer` if they would make this device do more than compute a turn.
 */
export function readSharedOptions(saved: SavedOptions): RunOptions {
  const { prompts, replace, search, ...rest } = saved;
  if (replace || search)
    throw new EngineError("bad-peer", "a run on several devices can neither search nor replace hand-offs");
  return {
    ...rest,
    ...(prompts.length > 0
      ? { prompts: Object.fromEntries(prompts.map(({ agent, ...each }) => [agent, each])) }
      : {}),
  };
}
