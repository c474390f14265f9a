/**
 * `recursivelink.json`: the trained links of a system, read into float32 tensors in call order.
 *
 * Source: docs/abi.md; the generated LINK_VARIANTS have the tensors of each form. Tensors are base64 of little-endian
 * float32 or float16, row-major, weights (out, in); a bias that a file leaves out becomes zeros.
 */
import { LINK_VARIANTS } from "../formats/generated/names";
import type { Link as LinkRecord, LinkTensor, LinkVariant, TensorRecord } from "../formats/generated/types";
import { LINK_FILE } from "../formats/generated/validators";
import { EngineError } from "./errors";
import { halfToFloat } from "./half";
import { parseFileAs } from "./parse";
import type { AgentSpec, EdgeSpec } from "./system";

/** The only epsilon that compiled libraries have (docs/abi.md). */
const LAYER_NORM_EPS = 1e-5;

/** Form of every link of a file. */
export type Variant = LinkVariant;

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

/**
 * Reads a link file and checks that it fits the system's agents and edges.
 *
 * @param text - content of `recursivelink.json`.
 * @throws EngineError `bad-links`: what was expected, what came.
 */
export function parseLinks(text: string, agents: readonly AgentSpec[], edges: readonly EdgeSpec[]): Links {
  const file = parseFileAs("bad-links", text, "recursivelink.json", LINK_FILE);
  const { variant, activation, layerNormEps } = file;
  const form = LINK_VARIANTS.find(({ name }) => name === variant);
  if (!form) throw bad(`there is no form of links '${variant}'`);
  if (activation !== form.activation || layerNormEps !== LAYER_NORM_EPS) {
    throw bad(
      `compiled agents compute activation '${form.activation}' and layer_norm_eps ${LAYER_NORM_EPS}, the links were ` +
        `trained with '${activation}' and ${layerNormEps}; train them again with 'rmas train'`,
    );
  }
  const hidden = new Map(agents.map((agent) => [agent.id, agent.hiddenSize]));
  const size = (agent: string): number => hidden.get(agent) ?? 0;
  const inner = agents.map(({ id }) => {
    const link = readLink(`inner link '${id}'`, file.inner[id], form.inner, size(id), size(id));
    return [id, link] as const;
  });
  const outer = edges.map(({ id, from, to }) => {
    const link = readLink(`outer link '${id}'`, file.outer[id], form.outer, size(from), size(to));
    return [id, link] as const;
  });
  return { variant, inner: new Map(inner), outer: new Map(outer) };
}

function bad(problem: string): EngineError {
  return new EngineError("bad-links", `link file: ${problem}`);
}

function readLink(
  where: string,
  record: LinkRecord | undefined,
  expected: readonly LinkTensor[],
  source: number,
  target: number,
): Link {
  if (!record) throw bad(`there is no ${where}`);
  if (record.sourceSize !== source || record.targetSize !== target) {
    throw bad(
      `${where} maps hidden size ${record.sourceSize} to ${record.targetSize}, but the agents need ` +
        `${source} to ${target}; use the link file that was trained for these agents`,
    );
  }
  const names = expected.map(({ name }) => name);
  const extra = Object.keys(record.tensors).find((name) => !names.includes(name));
  if (extra !== undefined)
    throw bad(`${where} has an unknown tensor '${extra}'; expected ${names.join(", ")}`);
  const sizes = { source, target, width: record.width };
  const tensors = expected.map(({ name, shape: sides, optional }) => {
    const shape = sides.map((side) => sizes[side]);
    const tensor = record.tensors[name];
    if (tensor) return readTensor(`${where}: tensor '${name}'`, tensor, shape);
    if (optional) return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
    throw bad(`${where} lacks tensor '${name}'; expected ${names.join(", ")}`);
  });
  return { sourceSize: source, targetSize: target, width: record.width, tensors };
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
