/** Manifests and link files of small systems. */
import { parseSystem, type System } from "../../src/engine/system";

type Json = Record<string, unknown>;

const SHA = "0".repeat(64);

/** An agent's record. Every agent has another hidden size. */
export function agentJson(id: string, hiddenSize: number, incoming: readonly string[]): Json {
  const slots = incoming.map((edge) => `{latent:${edge}}`).join("");
  return {
    id,
    role: id,
    model: `tiny-${id}`,
    architecture: "qwen2",
    path: `${id}/`,
    model_lib: `${id}/${id}-q0f32-webgpu.wasm`,
    quantization: "q0f32",
    dtype: "float32",
    hidden_size: hiddenSize,
    num_hidden_layers: 2,
    vocab_size: 256,
    context_window_size: 64,
    prefill_chunk_size: 16,
    memory_bytes: 1000,
    stop_token_ids: [0],
    prompt: { template: `${id} {question} ${slots}`, prefix: "<", suffix: ">" },
  };
}

/** A manifest as JSON: agents a (8), b (12), c (16) in a ring, c ⇢ a being feedback. */
export function manifestJson(changes: Json = {}): Json {
  const agents = [agentJson("a", 8, ["c->a"]), agentJson("b", 12, ["a->b"]), agentJson("c", 16, ["b->c"])];
  const paths = agents.flatMap((agent) => [
    String(agent.model_lib),
    `${agent.path}tensor-cache.json`,
    `${agent.path}params_shard_0.bin`,
    `${agent.path}tokenizer.json`,
  ]);
  return {
    format: "recursivemas.system",
    version: 1,
    name: "ring",
    pattern: "sequential",
    rounds: 2,
    latent_steps: 3,
    decoding: { max_new_tokens: 4, answer_prefix: "=" },
    agents,
    edges: [
      { id: "a->b", from: "a", to: "b" },
      { id: "b->c", from: "b", to: "c" },
      { id: "c->a", from: "c", to: "a", feedback: true },
    ],
    links: "recursivelink.json",
    required_features: [],
    required_limits: { maxStorageBuffersPerShaderStage: 10 },
    memory_bytes: 3000,
    files: ["recursivelink.json", ...paths].map((path) => ({ path, size_bytes: 1, sha256: SHA })),
    provenance: { made_by: "hand" },
    ...changes,
  };
}

export function system(changes: Json = {}): System {
  return parseSystem(JSON.stringify(manifestJson(changes)), "system.json");
}

/** Base64 of float32 values. */
export function base64(values: readonly number[]): string {
  return Buffer.from(Float32Array.from(values).buffer).toString("base64");
}

function tensor(shape: readonly number[], value: number): Json {
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype: "float32", shape, data: base64(Array.from({ length: size }, (_, i) => value + i / 100)) };
}

/** A `paper` link of width 2. */
export function linkJson(source: number, target: number, outer: boolean): Json {
  return {
    source_size: source,
    target_size: target,
    width: 2,
    tensors: {
      w1: tensor([2, source], 0.1),
      b1: tensor([2], 0.2),
      w2: tensor([target, 2], 0.3),
      b2: tensor([target], 0.4),
      ...(outer ? { w3: tensor([target, source], 0.5), b3: tensor([target], 0.6) } : {}),
    },
  };
}

/** The ring's link file. */
export function linksJson(changes: Json = {}): Json {
  return {
    format: "recursivemas.links",
    version: 1,
    system: "ring",
    variant: "paper",
    activation: "gelu",
    layer_norm_eps: 1e-5,
    inner: { a: linkJson(8, 8, false), b: linkJson(12, 12, false), c: linkJson(16, 16, false) },
    outer: { "a->b": linkJson(8, 12, true), "b->c": linkJson(12, 16, true), "c->a": linkJson(16, 8, true) },
    ...changes,
  };
}
