/** What a manifest says about how its system was trained and measured. All of it is optional and checked. */
import * as v from "valibot";

const measuredCell = v.object({
  mode: v.string(),
  control: v.optional(v.string(), "none"),
  rounds: v.number(),
  latent_steps: v.number(),
  threshold: v.optional(v.nullable(v.number())),
  questions: v.number(),
  accuracy: v.number(),
  low: v.number(),
  high: v.number(),
  decoded_tokens: v.number(),
});

const report = v.object({
  data: v.optional(v.string(), ""),
  seed: v.optional(v.nullable(v.number()), null),
  cells: v.array(measuredCell),
});

const links = v.object({
  seed: v.optional(v.number()),
  data: v.optional(v.string()),
  rounds: v.optional(v.number()),
  latent_steps: v.optional(v.number()),
  device: v.optional(v.string()),
  training: v.optional(v.object({ variant: v.optional(v.string()) })),
});

/** A row of a measured table. */
export interface MeasuredRow {
  readonly mode: string;
  /** What replaced the hand-offs: `none`, `zeros` or `other_question`. */
  readonly control: string;
  readonly rounds: number;
  readonly latentSteps: number;
  /** Threshold of early stopping; absent or null if every question took all rounds. */
  readonly threshold?: number | null | undefined;
  readonly questions: number;
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  readonly decodedTokens: number;
}

/** One report of `rmas eval`. */
export interface MeasuredTable {
  readonly name: string;
  readonly data: string;
  readonly seed: number | null;
  readonly rows: readonly MeasuredRow[];
}

/** @returns the reports in a manifest; reports of another form are left out. */
export function measuredTables(provenance: Readonly<Record<string, unknown>>): MeasuredTable[] {
  const { measured } = provenance;
  if (typeof measured !== "object" || measured === null) return [];
  return Object.entries(measured).flatMap(([name, value]): MeasuredTable[] => {
    const parsed = v.safeParse(report, value);
    if (!parsed.success || parsed.output.cells.length === 0) return [];
    const rows = parsed.output.cells.map(({ latent_steps, decoded_tokens, ...cell }) => ({
      ...cell,
      latentSteps: latent_steps,
      decodedTokens: decoded_tokens,
    }));
    return [{ name, data: parsed.output.data, seed: parsed.output.seed, rows }];
  });
}

const checkpoints = v.record(v.string(), v.object({ adapter: v.optional(v.unknown()) }));

/** Whether an adapter was merged into the weights of an agent. */
export function hasAdapters(provenance: Readonly<Record<string, unknown>>): boolean {
  const parsed = v.safeParse(checkpoints, provenance.checkpoints);
  return parsed.success && Object.values(parsed.output).some(({ adapter }) => adapter !== undefined);
}

/** @returns the data that the links were trained on, as `rmas train` was told; undefined if the manifest does not say. */
export function linkData(provenance: Readonly<Record<string, unknown>>): string | undefined {
  const parsed = v.safeParse(links, provenance.links);
  return parsed.success ? parsed.output.data || undefined : undefined;
}

/** @returns how the links were trained, as a list of facts; undefined if the manifest does not say. */
export function linkTraining(provenance: Readonly<Record<string, unknown>>): string | undefined {
  const parsed = v.safeParse(links, provenance.links);
  if (!parsed.success) return undefined;
  const { data, seed, rounds, latent_steps: steps, device, training } = parsed.output;
  const parts = [
    training?.variant && `form “${training.variant}”`,
    data && `on ${data}`,
    rounds !== undefined && steps !== undefined && `for ${rounds} rounds of ${steps} latent steps`,
    seed !== undefined && `seed ${seed}`,
    device && `on ${device}`,
  ].filter((part) => typeof part === "string");
  return parts.length === 0 ? undefined : parts.join(", ");
}
