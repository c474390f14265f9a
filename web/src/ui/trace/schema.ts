/**
 * The trace file: one run, saved as JSON, checked on opening.
 *
 * Format `recursivemas.trace`, version 2; version 1 had neither `origin` nor `options.order`. Keys are snake_case as in the project's other files; matrices are base64 of
 * little-endian float32, row-major. Events name the turn or hand-off they report by its index.
 */
import * as v from "valibot";
import { decodeFloats } from "../lib/base64";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const time = v.pipe(v.number(), v.finite(), v.minValue(0));
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(160));

const matrix = v.pipe(
  v.strictObject({ rows: count, columns: count, data: v.string() }),
  v.transform(({ rows, columns, data }) => ({ rows, columns, data: decodeFloats(data) })),
  v.check(
    ({ rows, columns, data }) => data?.length === rows * columns,
    "expected base64 of rows × columns float32 numbers",
  ),
  v.transform(({ rows, columns, data }) => ({ rows, columns, data: data ?? new Float32Array() })),
);

const counters = v.strictObject({
  syncs: count,
  readback_bytes: count,
  dispatches: count,
  submits: count,
  upload_bytes: count,
  live_bytes: count,
  peak_bytes: count,
});

const likely = v.strictObject({
  token_id: count,
  text: v.string(),
  probability: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
});

const turn = v.strictObject({
  round: count,
  agent: name,
  prompt_tokens: count,
  latent_steps: count,
  decoded_tokens: count,
  text: v.string(),
  ms: time,
  counters,
  thoughts: v.optional(matrix),
  lens: v.optional(v.array(v.array(likely))),
});

const handoff = v.strictObject({
  round: count,
  edge: name,
  from: name,
  to: name,
  rows: count,
  text: v.optional(v.string()),
  states: v.optional(matrix),
});

const event = v.variant("kind", [
  v.strictObject({
    kind: v.literal("turn-start"),
    at: time,
    round: count,
    agent: name,
    prompt_tokens: count,
    latent_rows: count,
  }),
  v.strictObject({
    kind: v.literal("step"),
    at: time,
    round: count,
    agent: name,
    step: count,
    of: count,
    ms: time,
  }),
  v.strictObject({
    kind: v.literal("token"),
    at: time,
    round: count,
    agent: name,
    token_id: count,
    text: v.string(),
    answer: v.boolean(),
    ms: time,
  }),
  v.strictObject({ kind: v.literal("handoff"), at: time, index: count }),
  v.strictObject({ kind: v.literal("turn-end"), at: time, index: count }),
]);

const decoding = v.strictObject({
  max_new_tokens: count,
  temperature: v.number(),
  top_p: v.number(),
  seed: v.number(),
  think_before_answer: v.boolean(),
  answer_prefix: v.string(),
  text_tokens: v.nullable(count),
});

const mode = v.picklist(["latent", "text", "single", "loop"]);

const options = v.strictObject({
  question: v.string(),
  mode,
  rounds: v.pipe(count, v.minValue(1), v.maxValue(64)),
  latent_steps: v.pipe(count, v.minValue(1), v.maxValue(1024)),
  decoding,
  edges: v.array(name),
  order: v.optional(v.pipe(v.array(name), v.minLength(1))),
  prompts: v.array(
    v.strictObject({
      agent: name,
      prompt: v.optional(v.string()),
      first_round_prompt: v.optional(v.nullable(v.string())),
    }),
  ),
});

const system = v.strictObject({
  name,
  pattern: name,
  agents: v.pipe(
    v.array(v.strictObject({ id: name, role: v.string(), architecture: v.string(), hidden_size: count })),
    v.minLength(1),
    v.maxLength(64),
  ),
  edges: v.array(v.strictObject({ id: name, from: name, to: name, feedback: v.boolean() })),
});

const origin = v.strictObject({
  manifest_sha256: v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))),
  links: v.nullable(v.string()),
});

const result = v.strictObject({
  answer: v.string(),
  stop_reason: v.picklist(["stop-token", "max-new-tokens", "context-full"]),
  mode,
  rounds: count,
  latent_steps: count,
  decoded_tokens: count,
  answer_token_ids: v.array(count),
  total_latent_steps: count,
  ms: time,
  turns: v.array(turn),
  handoffs: v.array(handoff),
  counters,
});

export const traceSchema = v.strictObject({
  format: v.literal("recursivemas.trace"),
  version: v.picklist([1, 2]),
  system,
  origin: v.optional(origin),
  expected: v.nullable(v.string()),
  choices: v.nullable(v.array(v.string())),
  scoring: v.picklist(["exact", "numeric", "choice"]),
  options,
  events: v.array(event),
  result,
});

/** What the file holds, matrices decoded. */
export type TraceFile = v.InferOutput<typeof traceSchema>;
