// Written by `make generate` from core/recursivemas/system. Do not edit.
import * as v from "valibot";
import type { Format } from "../format";
import { floats } from "../matrix";
import type {
  Gallery,
  LinkFile,
  Manifest,
  Questions,
  SavedOptions,
  SavedRun,
  SharedLinks,
  Step,
  SystemsIndex,
  Token,
  TurnStart,
  TurnSummary,
} from "./types";

/** Keys of files whose value has names in place of keys. */
export const MAPS: ReadonlySet<string> = new Set([
  "required_limits",
  "inner",
  "outer",
  "tensors",
  "fields",
  "replace",
]);
/** Keys of files whose value is left as it is. */
export const FREE: ReadonlySet<string> = new Set(["provenance"]);

const activation = v.picklist(["gelu", "gelu_tanh"]);
const quantization = v.picklist(["q0f32", "q0f16", "q4f32_1", "q4f16_1"]);
const dtype = v.picklist(["float32", "float16"]);
const promptRecord = v.strictObject({
  template: v.string(),
  prefix: v.optional(v.string(), ""),
  suffix: v.optional(v.string(), ""),
  trim: v.optional(v.union([v.literal("end"), v.boolean()]), false),
});
const sampling = v.strictObject({
  temperature: v.optional(v.pipe(v.number(), v.minValue(0)), 0),
  top_p: v.optional(v.pipe(v.number(), v.gtValue(0), v.maxValue(1)), 1),
  top_k: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 50),
  repetition_penalty: v.optional(v.pipe(v.number(), v.gtValue(0)), 1),
});
const subgroupLibrary = v.strictObject({
  model_lib: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  subgroup_size: v.picklist([4, 8, 16, 32, 64, 128]),
});
const agentRecord = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/), v.maxLength(64)),
  role: v.string(),
  model: v.string(),
  architecture: v.string(),
  path: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  model_lib: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  quantization: quantization,
  dtype: dtype,
  hidden_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  num_hidden_layers: v.pipe(v.number(), v.integer(), v.minValue(1)),
  vocab_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  context_window_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  prefill_chunk_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  memory_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  stop_token_ids: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
  prompt: promptRecord,
  first_round_prompt: v.optional(v.nullable(promptRecord), null),
  single_prompt: v.optional(v.nullable(promptRecord), null),
  tools: v.optional(v.array(v.string()), []),
  latent_steps: v.optional(
    v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024))),
    null,
  ),
  sampling: v.optional(sampling, { temperature: 0, top_p: 1, top_k: 50, repetition_penalty: 1 }),
  recurrent_state_bytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
  required_limits: v.optional(v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0))), {}),
  subgroup_lib: v.optional(v.nullable(subgroupLibrary), null),
});
const agentView = v.strictObject({
  id: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  role: v.string(),
  model: v.optional(v.string()),
  architecture: v.string(),
  hidden_size: v.pipe(v.number(), v.integer(), v.minValue(0)),
  latent_steps: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
const complete = v.picklist(["box", "choice", "code"]);
const answerRetry = v.strictObject({
  needs: v.optional(complete, "box"),
  append: v.optional(v.pipe(v.string(), v.minLength(1)), "\nFinal Answer: \\boxed{"),
  max_new_tokens: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 16),
});
const counters = v.strictObject({
  syncs: v.pipe(v.number(), v.integer(), v.minValue(0)),
  readback_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  dispatches: v.pipe(v.number(), v.integer(), v.minValue(0)),
  submits: v.pipe(v.number(), v.integer(), v.minValue(0)),
  upload_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  live_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  peak_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const decoding = v.strictObject({
  max_new_tokens: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 256),
  temperature: v.optional(v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(10))), 0),
  top_p: v.optional(v.nullable(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))), 1),
  top_k: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0))), 0),
  repetition_penalty: v.optional(v.nullable(v.pipe(v.number(), v.gtValue(0), v.maxValue(10))), null),
  seed: v.optional(v.pipe(v.number(), v.integer()), 0),
  think_before_answer: v.optional(v.boolean(), false),
  answer_prefix: v.optional(v.string(), ""),
  text_tokens: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1))), null),
  stop_strings: v.optional(v.array(v.pipe(v.string(), v.minLength(1))), []),
  answer_retry: v.optional(v.nullable(answerRetry), null),
  max_tool_calls: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0))), null),
});
const earlyStop = v.strictObject({
  round: v.pipe(v.number(), v.integer(), v.minValue(1)),
  similarity: v.pipe(v.number(), v.minValue(-1), v.maxValue(1)),
});
const earlyStopping = v.strictObject({
  threshold: v.pipe(v.number(), v.gtValue(0), v.maxValue(1)),
});
const edge = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[^{}\s:]+$/), v.maxLength(160)),
  from: v.string(),
  to: v.string(),
  feedback: v.optional(v.boolean(), false),
});
const fileRecord = v.strictObject({
  path: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  size_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
const pattern = v.picklist(["sequential", "mixture", "distillation", "deliberation", "graph"]);
const linkVariant = v.picklist(["paper", "ln_res", "normed"]);
const sharedAdapter = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  revision: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(200))), null),
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
const sharedAgent = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/), v.maxLength(64)),
  role: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  model: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  revision: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(200))), null),
  architecture: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  hidden_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  license: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(200))), null),
  weights_sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  adapter: v.optional(v.nullable(sharedAdapter), null),
});
const trainedOn = v.strictObject({
  data: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  rounds: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024)),
  seed: v.pipe(v.number(), v.integer()),
  device: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  agents_changed: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(500))), null),
});
const mode = v.picklist(["latent", "text", "loop", "single"]);
const weights = v.picklist(["checkpoint", "dequantised"]);
const measurement = v.strictObject({
  data: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  mode: mode,
  control: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(200)), "none"),
  rounds: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024)),
  temperature: v.optional(v.nullable(v.pipe(v.number(), v.minValue(0))), 0),
  threshold: v.optional(v.nullable(v.number()), null),
  weights: v.optional(weights, "checkpoint"),
  questions: v.pipe(v.number(), v.integer(), v.minValue(1)),
  accuracy: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  low: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  high: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  decoded_tokens: v.pipe(v.number(), v.minValue(0)),
});
const sharedLinks = v.strictObject({
  format: v.literal("recursivemas.shared-links"),
  version: v.literal(1),
  system: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/), v.maxLength(64)),
  description: v.pipe(v.string(), v.maxLength(2000)),
  license: v.pipe(v.string(), v.minLength(1), v.maxLength(200)),
  pattern: pattern,
  variant: linkVariant,
  agents: v.pipe(v.array(sharedAgent), v.minLength(1), v.maxLength(64)),
  edges: v.array(edge),
  links: fileRecord,
  trained: trainedOn,
  measured: v.optional(v.pipe(v.array(measurement), v.maxLength(200)), []),
});
const galleryEntry = v.strictObject({
  system: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  links: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  record: sharedLinks,
});
const gallery = v.strictObject({
  format: v.literal("recursivemas.gallery"),
  version: v.literal(1),
  entries: v.array(galleryEntry),
});
const handoff = v.strictObject({
  at: v.pipe(v.number(), v.minValue(0)),
  kind: v.literal("handoff"),
  index: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const matrix = v.strictObject({
  rows: v.pipe(v.number(), v.integer(), v.minValue(0)),
  columns: v.pipe(v.number(), v.integer(), v.minValue(0)),
  data: floats,
});
const handoffSummary = v.strictObject({
  round: v.pipe(v.number(), v.integer(), v.minValue(0)),
  edge: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  from: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  to: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  rows: v.pipe(v.number(), v.integer(), v.minValue(0)),
  text: v.optional(v.string()),
  states: v.optional(matrix),
  similarity: v.optional(v.pipe(v.number(), v.minValue(-1), v.maxValue(1))),
});
const indexEntry = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  description: v.string(),
  pattern: v.string(),
  path: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the index's folder",
    ),
  ),
  size_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const tensorRecord = v.strictObject({
  dtype: dtype,
  shape: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
  data: v.string(),
});
const link = v.strictObject({
  source_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  target_size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  width: v.pipe(v.number(), v.integer(), v.minValue(1)),
  tensors: v.record(v.string(), tensorRecord),
});
const linkFile = v.strictObject({
  format: v.literal("recursivemas.links"),
  version: v.literal(1),
  system: v.string(),
  variant: linkVariant,
  activation: v.optional(activation, "gelu"),
  layer_norm_eps: v.optional(v.pipe(v.number(), v.gtValue(0)), 0.00001),
  inner: v.record(v.string(), link),
  outer: v.record(v.string(), link),
  provenance: v.optional(v.record(v.string(), v.unknown()), {}),
});
const variantRecord = v.strictObject({
  quantization: quantization,
  agents: v.pipe(v.array(agentRecord), v.minLength(1), v.maxLength(64)),
  required_features: v.optional(v.array(v.string()), []),
  required_limits: v.optional(v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0))), {}),
  memory_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const scoring = v.picklist(["exact", "contains", "numeric", "any_number", "choice", "math"]);
const taskRecord = v.strictObject({
  name: v.string(),
  description: v.optional(v.string(), ""),
  scoring: v.optional(scoring, "exact"),
  questions: v.optional(
    v.nullable(
      v.pipe(
        v.string(),
        v.regex(
          /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
          "expected a path below the manifest's folder",
        ),
      ),
    ),
    null,
  ),
});
const manifest = v.strictObject({
  format: v.literal("recursivemas.system"),
  version: v.literal(1),
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/), v.maxLength(64)),
  description: v.optional(v.string(), ""),
  pattern: pattern,
  rounds: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024)),
  decoding: decoding,
  early_stopping: v.optional(v.nullable(earlyStopping), null),
  agents: v.pipe(v.array(agentRecord), v.minLength(1), v.maxLength(64)),
  variants: v.optional(v.array(variantRecord), []),
  edges: v.array(edge),
  task: v.optional(v.nullable(taskRecord), null),
  links: v.pipe(
    v.string(),
    v.regex(
      /^(?!\/)(?!\s)(?!(.*\/)?\.\.(\/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])/,
      "expected a path below the manifest's folder",
    ),
  ),
  required_features: v.optional(v.array(v.string()), []),
  required_limits: v.optional(v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0))), {}),
  memory_bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  files: v.array(fileRecord),
  provenance: v.optional(v.record(v.string(), v.unknown()), {}),
});
const origin = v.strictObject({
  manifest_sha256: v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))),
  links: v.nullable(v.string()),
});
const questionRecord = v.strictObject({
  question: v.pipe(v.string(), v.minLength(1)),
  answer: v.string(),
  choices: v.optional(v.array(v.string())),
  group: v.optional(v.string()),
  fields: v.optional(v.record(v.string(), v.string()), {}),
});
const questions = v.array(questionRecord);
const stopReason = v.picklist([
  "stop-token",
  "stop-string",
  "max-new-tokens",
  "max-tool-calls",
  "context-full",
]);
const tokenProbability = v.strictObject({
  token_id: v.pipe(v.number(), v.integer(), v.minValue(0)),
  text: v.string(),
  probability: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
});
const turnSummary = v.strictObject({
  round: v.pipe(v.number(), v.integer(), v.minValue(0)),
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  prompt_tokens: v.pipe(v.number(), v.integer(), v.minValue(0)),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(0)),
  decoded_tokens: v.pipe(v.number(), v.integer(), v.minValue(0)),
  forward_positions: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  kept_positions: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  text: v.string(),
  ms: v.pipe(v.number(), v.minValue(0)),
  counters: counters,
  thoughts: v.optional(matrix),
  lens: v.optional(v.array(v.array(tokenProbability))),
});
const runResult = v.strictObject({
  answer: v.string(),
  stop_reason: stopReason,
  mode: mode,
  rounds: v.pipe(v.number(), v.integer(), v.minValue(0)),
  early_stop: v.optional(earlyStop),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(0)),
  decoded_tokens: v.pipe(v.number(), v.integer(), v.minValue(0)),
  answer_token_ids: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
  total_latent_steps: v.pipe(v.number(), v.integer(), v.minValue(0)),
  ms: v.pipe(v.number(), v.minValue(0)),
  turns: v.array(turnSummary),
  handoffs: v.array(handoffSummary),
  counters: counters,
});
const savedPrompt = v.strictObject({
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  prompt: v.optional(v.string()),
  first_round_prompt: v.optional(v.nullable(v.string())),
  single_prompt: v.optional(v.string()),
});
const searchOptions = v.strictObject({
  url: v.string(),
});
const traceOptions = v.strictObject({
  handoffs: v.optional(v.boolean()),
  thoughts: v.optional(v.boolean()),
  lens_top_k: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
const savedOptions = v.strictObject({
  question: v.string(),
  fields: v.optional(v.record(v.string(), v.string())),
  mode: mode,
  rounds: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  latent_steps: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024)),
  early_stopping: v.optional(earlyStopping),
  decoding: decoding,
  edges: v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(160))),
  order: v.optional(v.pipe(v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(160))), v.minLength(1))),
  prompts: v.array(savedPrompt),
  replace: v.optional(v.record(v.string(), v.union([v.literal("zeros"), v.array(matrix)]))),
  search: v.optional(searchOptions),
  trace: v.optional(traceOptions),
});
const systemView = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  pattern: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  agents: v.pipe(v.array(agentView), v.minLength(1), v.maxLength(64)),
  edges: v.array(edge),
});
const turnStart = v.strictObject({
  at: v.pipe(v.number(), v.minValue(0)),
  round: v.pipe(v.number(), v.integer(), v.minValue(0)),
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  kind: v.literal("turn-start"),
  prompt_tokens: v.pipe(v.number(), v.integer(), v.minValue(0)),
  latent_rows: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const step = v.strictObject({
  at: v.pipe(v.number(), v.minValue(0)),
  round: v.pipe(v.number(), v.integer(), v.minValue(0)),
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  forward_positions: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  ms: v.pipe(v.number(), v.minValue(0)),
  kind: v.literal("step"),
  step: v.pipe(v.number(), v.integer(), v.minValue(0)),
  of: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const token = v.strictObject({
  at: v.pipe(v.number(), v.minValue(0)),
  round: v.pipe(v.number(), v.integer(), v.minValue(0)),
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(160)),
  forward_positions: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  ms: v.pipe(v.number(), v.minValue(0)),
  kind: v.literal("token"),
  token_id: v.pipe(v.number(), v.integer(), v.minValue(0)),
  text: v.string(),
  replaces: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  answer: v.boolean(),
});
const turnEnd = v.strictObject({
  at: v.pipe(v.number(), v.minValue(0)),
  kind: v.literal("turn-end"),
  index: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
const savedRun = v.strictObject({
  format: v.literal("recursivemas.trace"),
  version: v.picklist([1, 2, 3, 4, 5]),
  system: systemView,
  origin: v.optional(origin),
  expected: v.nullable(v.string()),
  choices: v.nullable(v.array(v.string())),
  scoring: scoring,
  options: savedOptions,
  events: v.array(v.variant("kind", [turnStart, step, token, handoff, turnEnd])),
  result: runResult,
});
const systemsIndex = v.strictObject({
  format: v.literal("recursivemas.systems"),
  version: v.literal(1),
  systems: v.array(indexEntry),
});

/** schemas/system.schema.json */
export const MANIFEST: Format<Manifest> = { schema: manifest, what: "manifest", version: 1 };
/** schemas/recursivelink.schema.json */
export const LINK_FILE: Format<LinkFile> = { schema: linkFile, what: "link file", version: 1 };
/** schemas/systems-index.schema.json */
export const SYSTEMS_INDEX: Format<SystemsIndex> = {
  schema: systemsIndex,
  what: "list of systems",
  version: 1,
};
/** schemas/questions.schema.json */
export const QUESTIONS: Format<Questions> = {
  schema: questions,
  what: "list of questions",
  version: undefined,
};
/** schemas/saved-run.schema.json */
export const SAVED_RUN: Format<SavedRun> = { schema: savedRun, what: "saved run", version: 5 };
/** schemas/shared-links.schema.json */
export const SHARED_LINKS: Format<SharedLinks> = {
  schema: sharedLinks,
  what: "record of shared links",
  version: 1,
};
/** schemas/gallery.schema.json */
export const GALLERY: Format<Gallery> = { schema: gallery, what: "gallery", version: 1 };
export const SAVED_OPTIONS: Format<SavedOptions> = {
  schema: savedOptions,
  what: "options of a run",
  version: undefined,
};
export const TURN_SUMMARY: Format<TurnSummary> = { schema: turnSummary, what: "turn", version: undefined };
export const STEP: Format<Step> = { schema: step, what: "step", version: undefined };
export const TOKEN: Format<Token> = { schema: token, what: "token", version: undefined };
export const TURN_START: Format<TurnStart> = { schema: turnStart, what: "turn", version: undefined };
