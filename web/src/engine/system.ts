/**
 * `system.json`: what `rmas build` wrote about a system, checked on reading.
 *
 * The twin of core/recursivemas/system/manifest.py. JSON is snake_case and TypeScript camelCase: `camelise` at the end
 * of this file is the one place where that changes.
 */
import * as v from "valibot";
import { describeIssues, newerVersion } from "./describe";
import { EngineError } from "./errors";

const positive = v.pipe(v.number(), v.integer(), v.minValue(1));
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const identifier = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]*$/), v.maxLength(64));
const relativePath = v.pipe(
  v.string(),
  v.check(
    (path) =>
      path !== "" &&
      !path.startsWith("/") &&
      !path.includes("\\") &&
      !/(^|\/)\.\.(\/|$)/.test(path) &&
      !/^[a-z][a-z0-9+.-]*:/i.test(path),
    "expected a path below the manifest's folder",
  ),
);

const fileRecord = v.strictObject({
  path: relativePath,
  size_bytes: count,
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});

const promptRecord = v.strictObject({
  template: v.string(),
  prefix: v.optional(v.string(), ""),
  suffix: v.optional(v.string(), ""),
});

const agentRecord = v.strictObject({
  id: identifier,
  role: v.string(),
  model: v.string(),
  architecture: v.string(),
  path: relativePath,
  model_lib: relativePath,
  quantization: v.picklist(["q0f32", "q0f16", "q4f32_1", "q4f16_1"]),
  dtype: v.picklist(["float32", "float16"]),
  hidden_size: positive,
  num_hidden_layers: positive,
  vocab_size: positive,
  context_window_size: positive,
  prefill_chunk_size: positive,
  memory_bytes: count,
  stop_token_ids: v.array(count),
  prompt: promptRecord,
  first_round_prompt: v.optional(v.nullable(promptRecord), null),
  tools: v.optional(v.array(v.string()), []),
});

const edgeRecord = v.strictObject({
  id: v.pipe(v.string(), v.regex(/^[^{}\s:]+$/), v.maxLength(160)),
  from: v.string(),
  to: v.string(),
  feedback: v.optional(v.boolean(), false),
});

const decodingRecord = v.strictObject({
  max_new_tokens: v.optional(positive, 256),
  temperature: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(10)), 0),
  top_p: v.optional(v.pipe(v.number(), v.gtValue(0), v.maxValue(1)), 1),
  seed: v.optional(v.pipe(v.number(), v.integer()), 0),
  think_before_answer: v.optional(v.boolean(), false),
  answer_prefix: v.optional(v.string(), ""),
  text_tokens: v.optional(v.nullable(positive), null),
});

const taskRecord = v.strictObject({
  name: v.string(),
  description: v.optional(v.string(), ""),
  scoring: v.optional(v.picklist(["exact", "numeric", "choice"]), "exact"),
  questions: v.optional(v.nullable(relativePath), null),
});

const variantRecord = v.strictObject({
  quantization: agentRecord.entries.quantization,
  agents: v.pipe(v.array(agentRecord), v.minLength(1)),
  required_features: v.optional(v.array(v.string()), []),
  required_limits: v.optional(v.record(v.string(), count), {}),
  memory_bytes: count,
});

const manifestSchema = v.strictObject({
  format: v.literal("recursivemas.system"),
  version: v.literal(1),
  name: identifier,
  description: v.optional(v.string(), ""),
  pattern: v.picklist(["sequential", "mixture", "distillation", "deliberation", "graph"]),
  rounds: positive,
  latent_steps: positive,
  decoding: decodingRecord,
  agents: v.pipe(v.array(agentRecord), v.minLength(1)),
  variants: v.optional(v.array(variantRecord), []),
  edges: v.array(edgeRecord),
  task: v.optional(v.nullable(taskRecord), null),
  links: relativePath,
  required_features: v.optional(v.array(v.string()), []),
  required_limits: v.optional(v.record(v.string(), count), {}),
  memory_bytes: count,
  files: v.array(fileRecord),
  provenance: v.optional(v.record(v.string(), v.unknown()), {}),
});

type CamelKey<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelKey<Tail>>}`
  : S;

/** A JSON type with its snake_case keys in camelCase. */
export type Camel<T> = T extends readonly (infer E)[]
  ? readonly Camel<E>[]
  : T extends object
    ? { readonly [K in keyof T as K extends string ? CamelKey<K> : never]: Camel<T[K]> }
    : T;

/** A built system. */
export type System = Camel<v.InferOutput<typeof manifestSchema>> & {
  /** Of `system.json` itself, when it was read from a server: it stands for every file the manifest lists. */
  readonly sha256?: string;
};
/** One agent's files and dimensions; `path` is its folder, ending in `/`. */
export type AgentSpec = System["agents"][number];
/** One hand-off: `from` → `to`; with `feedback` it is read in the next round. */
export type EdgeSpec = System["edges"][number];
/** One file of the system's folder. */
export type FileSpec = System["files"][number];
/** A template between the text that a chat template puts around it. */
export type PromptSpec = AgentSpec["prompt"];

/**
 * Reads and checks a manifest.
 *
 * @param text - content of `system.json`.
 * @param source - its URL, for messages.
 * @throws EngineError `bad-manifest`: one line with every problem.
 */
export function parseSystem(text: string, source: string): System {
  const data = parseJson(text, source);
  const newer = newerVersion(data, 1);
  if (newer !== undefined) {
    throw bad(source, `manifest version ${newer} is newer than this page's 1; reload the page or update it`);
  }
  const parsed = v.safeParse(manifestSchema, data);
  if (!parsed.success) throw bad(source, describeIssues(parsed.issues));
  const system = camelise(parsed.output) as System;
  checkGraph(system, source);
  checkVariants(system, source);
  checkFiles(system, source);
  return system;
}

function bad(source: string, problem: string): EngineError {
  return new EngineError("bad-manifest", `${source}: ${problem}`);
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw bad(source, `not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** Edges must name agents and fit the order in which agents run (docs/recursion.md, rule 1). */
function checkGraph(system: System, source: string): void {
  const position = new Map(system.agents.map((agent, index) => [agent.id, index]));
  if (position.size !== system.agents.length) throw bad(source, "an agent id appears twice");
  if (new Set(system.edges.map((edge) => edge.id)).size !== system.edges.length) {
    throw bad(source, "an edge id appears twice");
  }
  for (const edge of system.edges) {
    const from = position.get(edge.from);
    const to = position.get(edge.to);
    if (from === undefined || to === undefined) {
      throw bad(
        source,
        `edge '${edge.id}' names an unknown agent; agents are ${[...position.keys()].join(", ")}`,
      );
    }
    if (to <= from !== edge.feedback) {
      const problem = edge.feedback
        ? "is marked as feedback but its receiver runs later"
        : "closes a cycle without an order";
      throw bad(source, `edge '${edge.id}' ${problem}; rebuild the system with 'rmas build'`);
    }
  }
}

/** A variant has the same agents in the same order: links and prompts are shared. */
function checkVariants(system: System, source: string): void {
  const shape = ({ agents }: Pick<System, "agents">): string =>
    agents.map((agent) => `${agent.id} ${agent.hiddenSize}`).join();
  const odd = system.variants.find((variant) => shape(variant) !== shape(system));
  if (odd) throw bad(source, `variant ${odd.quantization} has other agents than the system`);
}

/** Everything the engine will fetch must be listed, so that nothing runs unverified. */
function checkFiles(system: System, source: string): void {
  const listed = new Set(system.files.map((file) => file.path));
  const needed = [
    system.links,
    ...(system.task?.questions ? [system.task.questions] : []),
    ...[system, ...system.variants]
      .flatMap(({ agents }) => agents)
      .flatMap((agent) => [agent.modelLib, `${agent.path}tensor-cache.json`, `${agent.path}tokenizer.json`]),
  ];
  const missing = needed.find((path) => !listed.has(path));
  if (missing !== undefined)
    throw bad(source, `'files' does not list ${missing}; rebuild the system with 'rmas build'`);
}

/** snake_case → camelCase, all the way down; what `provenance` holds is left as it is. */
function camelise(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelise);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
      key === "provenance" ? each : camelise(each),
    ]),
  );
}
