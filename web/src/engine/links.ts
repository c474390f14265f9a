/**
 * `recursivelink.json`: the trained links of a system, read into float32 tensors in call order.
 *
 * Source: docs/abi.md (names and order). The twin of core/recursivemas/system/links_file.py. Tensors are base64 of
 * little-endian float32 or float16, row-major, weights (out, in); a bias that is left out becomes zeros.
 */
import * as v from "valibot";
import { describeIssues, newerVersion } from "./describe";
import { EngineError } from "./errors";
import { halfToFloat } from "./half";
import type { AgentSpec, EdgeSpec } from "./system";

/** Form of every link of a file. */
export type Variant = "paper" | "ln_res";

/** Tensors of a link in the order the model library takes them. */
export const INNER_TENSORS: Readonly<Record<Variant, readonly string[]>> = {
  paper: ["w1", "b1", "w2", "b2"],
  ln_res: ["ln_pre.weight", "ln_pre.bias", "w1", "b1", "w2", "b2", "ln_post.weight", "ln_post.bias"],
};
export const OUTER_TENSORS: Readonly<Record<Variant, readonly string[]>> = {
  paper: ["w1", "b1", "w2", "b2", "w3", "b3"],
  ln_res: [
    "ln_source.weight",
    "ln_source.bias",
    "w1",
    "b1",
    "w2",
    "b2",
    "w3",
    "b3",
    "ln_target.weight",
    "ln_target.bias",
  ],
};
const OPTIONAL_TENSORS: ReadonlySet<string> = new Set(["b1", "b2", "b3"]);
/** The only activation and epsilon that compiled libraries have (docs/abi.md). */
const ACTIVATION = "gelu";
const LAYER_NORM_EPS = 1e-5;

/** A tensor on the CPU. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** One link: S → width R → target size, and its tensors in call order. */
export interface Link {
  readonly sourceSize: number;
  readonly targetSize: number;
  readonly width: number;
  readonly tensors: readonly HostTensor[];
}

/** All links of a system. */
export interface Links {
  readonly variant: Variant;
  /** By agent id. */
  readonly inner: ReadonlyMap<string, Link>;
  /** By edge id. */
  readonly outer: ReadonlyMap<string, Link>;
}

const size = v.pipe(v.number(), v.integer(), v.minValue(1));
const tensorSchema = v.strictObject({
  dtype: v.picklist(["float32", "float16"]),
  shape: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
  data: v.string(),
});
const linkSchema = v.strictObject({
  source_size: size,
  target_size: size,
  width: size,
  tensors: v.record(v.string(), tensorSchema),
});
const fileSchema = v.strictObject({
  format: v.literal("recursivemas.links"),
  version: v.literal(1),
  system: v.string(),
  variant: v.picklist(["paper", "ln_res"]),
  activation: v.optional(v.picklist(["gelu", "gelu_tanh"]), "gelu"),
  layer_norm_eps: v.optional(v.pipe(v.number(), v.gtValue(0)), LAYER_NORM_EPS),
  inner: v.record(v.string(), linkSchema),
  outer: v.record(v.string(), linkSchema),
  provenance: v.optional(v.record(v.string(), v.unknown()), {}),
});
type TensorRecord = v.InferOutput<typeof tensorSchema>;
type LinkRecord = v.InferOutput<typeof linkSchema>;

/**
 * Reads a link file and checks that it fits the system's agents and edges.
 *
 * @param text - content of `recursivelink.json`.
 * @throws EngineError `bad-links`: what was expected, what came.
 */
export function parseLinks(text: string, agents: readonly AgentSpec[], edges: readonly EdgeSpec[]): Links {
  const file = parseFile(text);
  const inner = new Map<string, Link>();
  const outer = new Map<string, Link>();
  const hidden = new Map(agents.map((agent) => [agent.id, agent.hiddenSize]));
  for (const [agent, width] of hidden) {
    const where = `inner link '${agent}'`;
    inner.set(
      agent,
      readLink(where, file.inner[agent], INNER_TENSORS[file.variant], file.variant, width, width),
    );
  }
  for (const edge of edges) {
    const where = `outer link '${edge.id}'`;
    const [from, to] = [hidden.get(edge.from) ?? 0, hidden.get(edge.to) ?? 0];
    outer.set(
      edge.id,
      readLink(where, file.outer[edge.id], OUTER_TENSORS[file.variant], file.variant, from, to),
    );
  }
  return { variant: file.variant, inner, outer };
}

function bad(problem: string): EngineError {
  return new EngineError("bad-links", `link file: ${problem}`);
}

function parseFile(text: string): v.InferOutput<typeof fileSchema> {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw bad(`not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  const newer = newerVersion(data, 1);
  if (newer !== undefined) {
    throw bad(`format version ${newer} is newer than this page's 1; reload the page or update it`);
  }
  const parsed = v.safeParse(fileSchema, data);
  if (!parsed.success) throw bad(describeIssues(parsed.issues));
  const { activation, layer_norm_eps } = parsed.output;
  if (activation !== ACTIVATION || layer_norm_eps !== LAYER_NORM_EPS) {
    throw bad(
      `compiled agents compute activation '${ACTIVATION}' and layer_norm_eps ${LAYER_NORM_EPS}, the links were trained ` +
        `with '${activation}' and ${layer_norm_eps}; train them again with 'rmas train'`,
    );
  }
  return parsed.output;
}

function readLink(
  where: string,
  record: LinkRecord | undefined,
  names: readonly string[],
  variant: Variant,
  sourceSize: number,
  targetSize: number,
): Link {
  if (!record) throw bad(`there is no ${where}`);
  if (record.source_size !== sourceSize || record.target_size !== targetSize) {
    throw bad(
      `${where} maps hidden size ${record.source_size} to ${record.target_size}, but the agents need ` +
        `${sourceSize} to ${targetSize}; use the link file that was trained for these agents`,
    );
  }
  const extra = Object.keys(record.tensors).find((name) => !names.includes(name));
  if (extra !== undefined)
    throw bad(`${where} has an unknown tensor '${extra}'; expected ${names.join(", ")}`);
  const shapes = tensorShapes(sourceSize, targetSize, record.width);
  const tensors = names.map((name) => {
    const shape = shapes[name] ?? [];
    const tensor = record.tensors[name];
    if (tensor) return readTensor(`${where}: tensor '${name}'`, tensor, shape);
    if (variant === "paper" && OPTIONAL_TENSORS.has(name)) return zeros(shape);
    throw bad(`${where} lacks tensor '${name}'; expected ${names.join(", ")}`);
  });
  return { sourceSize, targetSize, width: record.width, tensors };
}

/** The shape of every tensor by name; docs/abi.md's table. */
function tensorShapes(
  source: number,
  target: number,
  width: number,
): Readonly<Record<string, readonly number[]>> {
  return {
    w1: [width, source],
    b1: [width],
    w2: [target, width],
    b2: [target],
    w3: [target, source],
    b3: [target],
    "ln_pre.weight": [source],
    "ln_pre.bias": [source],
    "ln_source.weight": [source],
    "ln_source.bias": [source],
    "ln_post.weight": [target],
    "ln_post.bias": [target],
    "ln_target.weight": [target],
    "ln_target.bias": [target],
  };
}

function zeros(shape: readonly number[]): HostTensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
}

function readTensor(where: string, record: TensorRecord, shape: readonly number[]): HostTensor {
  if (record.shape.join() !== shape.join()) {
    throw bad(`${where} must have shape [${shape.join(", ")}], got [${record.shape.join(", ")}]`);
  }
  const bytes = decodeBase64(where, record.data);
  const itemBytes = record.dtype === "float32" ? 4 : 2;
  const expected = shape.reduce((a, b) => a * b, 1) * itemBytes;
  if (bytes.byteLength !== expected) {
    throw bad(
      `${where}: shape [${shape.join(", ")}] of ${record.dtype} needs ${expected} bytes, got ${bytes.byteLength}`,
    );
  }
  const data =
    record.dtype === "float32" ? new Float32Array(bytes.buffer) : halfToFloat(new Uint16Array(bytes.buffer));
  if (!data.every(Number.isFinite)) throw bad(`${where} holds NaN or infinity`);
  return { shape, data };
}

function decodeBase64(where: string, text: string): Uint8Array<ArrayBuffer> {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw bad(`${where}: its data is not base64`);
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
