/**
 * A dense decoder on the processor: Llama, Mistral, Qwen2 and Qwen3, one position after another.
 *
 * Source: build/recursivemas/compiler/models/llama.py, qwen2.py and qwen3.py, whose parameters it reads under the same
 * names. A position is computed alone, so the same tokens give the same bits, however they are fed.
 *
 * Shape letters: D hidden size, V vocabulary size, d size of a head.
 */
import { EngineError } from "../errors";
import type { HostTensor } from "../links";
import type { DecoderConfig } from "./config";
import { dot, linear } from "./matrix";

type Row = Float32Array<ArrayBuffer>;

/** The parameters of a layer. */
interface Layer {
  readonly inputNorm: Float32Array;
  readonly qkv: Float32Array;
  readonly qkvBias: Float32Array | undefined;
  readonly queryNorm: Float32Array | undefined;
  readonly keyNorm: Float32Array | undefined;
  readonly o: Float32Array;
  readonly oBias: Float32Array | undefined;
  readonly mlpNorm: Float32Array;
  readonly gateUp: Float32Array;
  readonly down: Float32Array;
}

/** Keys and values of a layer, a row of all heads for each position. */
interface LayerCache {
  readonly keys: Row[];
  readonly values: Row[];
}

/** What a decoder remembers of a sequence. */
export class Sequence {
  readonly layers: readonly LayerCache[];

  constructor(layers: number) {
    this.layers = Array.from({ length: layers }, () => ({ keys: [], values: [] }));
  }

  get length(): number {
    return this.layers[0]?.keys.length ?? 0;
  }

  /** Forgets all positions but the first. */
  cut(length: number): void {
    for (const { keys, values } of this.layers) keys.length = values.length = Math.min(length, keys.length);
  }
}

export class Decoder {
  readonly #layers: readonly Layer[];
  readonly #embeddings: Float32Array;
  readonly #norm: Float32Array;
  readonly #head: Float32Array;
  /** Radians a position, for each pair of numbers of a head. */
  readonly #frequencies: Float32Array;

  /**
   * @param tensors - by name.
   * @param agent - its id, for messages.
   * @throws EngineError `bad-manifest` if a parameter is missing or has another shape.
   */
  constructor(
    readonly config: DecoderConfig,
    tensors: ReadonlyMap<string, HostTensor>,
    agent: string,
  ) {
    const { hidden_size: D, vocab_size: V, head_dim: d, intermediate_size: inner } = config;
    const queries = config.num_attention_heads * d;
    const projected = queries + 2 * config.num_key_value_heads * d;
    const take = (name: string, ...shape: number[]): Float32Array => {
      const tensor = tensors.get(name);
      if (tensor?.shape.join() === shape.join()) return tensor.data;
      const came = tensor ? `is [${tensor.shape.join(", ")}]` : "is missing";
      throw new EngineError(
        "bad-manifest",
        `agent '${agent}': weight '${name}' ${came}, expected [${shape.join(", ")}]; rebuild the system with 'rmas build'`,
      );
    };
    const optional = (wanted: boolean, name: string, length: number): Float32Array | undefined =>
      wanted ? take(name, length) : undefined;
    this.#layers = Array.from({ length: config.num_hidden_layers }, (_, index) => {
      const layer = `model.layers.${index}`;
      const qkv = `${layer}.self_attn.${config.qkv_name}`;
      return {
        inputNorm: take(`${layer}.input_layernorm.weight`, D),
        qkv: take(`${qkv}.weight`, projected, D),
        qkvBias: optional(config.qkv_bias, `${qkv}.bias`, projected),
        queryNorm: optional(config.qk_norm, `${layer}.self_attn.q_norm.weight`, d),
        keyNorm: optional(config.qk_norm, `${layer}.self_attn.k_norm.weight`, d),
        o: take(`${layer}.self_attn.o_proj.weight`, D, queries),
        oBias: optional(config.o_bias, `${layer}.self_attn.o_proj.bias`, D),
        mlpNorm: take(`${layer}.post_attention_layernorm.weight`, D),
        gateUp: take(`${layer}.mlp.gate_up_proj.weight`, 2 * inner, D),
        down: take(`${layer}.mlp.down_proj.weight`, D, inner),
      };
    });
    this.#embeddings = take("model.embed_tokens.weight", V, D);
    this.#norm = take("model.norm.weight", D);
    this.#head = config.tie_word_embeddings ? this.#embeddings : take("lm_head.weight", V, D);
    this.#frequencies = Float32Array.from({ length: d / 2 }, (_, i) => config.rope_theta ** ((-2 * i) / d));
  }

  /** The input embedding of a token, (D). An id beyond the table reads its last row, as on the GPU. */
  embed(id: number): Row {
    const { hidden_size: D, vocab_size: V } = this.config;
    const row = Math.min(id, V - 1);
    return this.#embeddings.slice(row * D, (row + 1) * D) as Row;
  }

  /** Reads a position, (D). @returns its hidden state after the final norm, (D). */
  extend(sequence: Sequence, embedding: Float32Array): Row {
    const position = sequence.length;
    let x = Float32Array.from(embedding);
    for (const [index, layer] of this.#layers.entries()) {
      const cache = sequence.layers[index] as LayerCache;
      const attended = this.#attend(layer, cache, position, this.#normed(x, layer.inputNorm));
      x = added(x, linear(layer.o, layer.oBias, attended));
      x = added(
        x,
        linear(layer.down, undefined, gated(linear(layer.gateUp, undefined, this.#normed(x, layer.mlpNorm)))),
      );
    }
    return this.#normed(x, this.#norm);
  }

  /** (D) to (V). */
  logits(hidden: Float32Array): Row {
    return linear(this.#head, undefined, hidden);
  }

  /** Causal attention in which several query heads share a head of keys and values; the cache grows by a position. */
  #attend(layer: Layer, cache: LayerCache, position: number, x: Row): Row {
    const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: d } = this.config;
    const qkv = linear(layer.qkv, layer.qkvBias, x);
    for (let head = 0; head < heads + shared; head++) {
      const norm = head < heads ? layer.queryNorm : layer.keyNorm;
      const part = qkv.subarray(head * d, (head + 1) * d);
      if (norm) part.set(this.#normed(part, norm));
      this.#rotate(part, position);
    }
    cache.keys.push(qkv.slice(heads * d, (heads + shared) * d));
    cache.values.push(qkv.slice((heads + shared) * d));
    const out = new Float32Array(heads * d);
    for (let head = 0; head < heads; head++) {
      const from = Math.floor(head / (heads / shared)) * d;
      const weights = softmax(cache.keys.map((key) => dot(qkv, head * d, key, from, d) / Math.sqrt(d)));
      for (let i = 0; i < d; i++) {
        let sum = 0;
        for (let at = 0; at <= position; at++)
          sum += (weights[at] as number) * ((cache.values[at] as Row)[from + i] as number);
        out[head * d + i] = sum;
      }
    }
    return out;
  }

  /** RoPE of one head, in place: pairs lie half a head apart. */
  #rotate(head: Float32Array, position: number): void {
    const half = head.length / 2;
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * (this.#frequencies[i] as number));
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const [a, b] = [head[i] as number, head[half + i] as number];
      head[i] = a * cos - b * sin;
      head[half + i] = b * cos + a * sin;
    }
  }

  /** RMSNorm. */
  #normed(x: Float32Array, weight: Float32Array): Row {
    const scale = 1 / Math.sqrt(dot(x, 0, x, 0, x.length) / x.length + this.config.rms_norm_eps);
    return Float32Array.from(x, (value, i) => value * scale * (weight[i] as number));
  }
}

function added(a: Row, b: Row): Row {
  return a.map((value, index) => value + (b[index] as number));
}

/** SiLU of the first half times the second half. */
function gated(x: Row): Row {
  const half = x.length / 2;
  return Float32Array.from({ length: half }, (_, i) => {
    const gate = x[i] as number;
    return (gate / (1 + Math.exp(-gate))) * (x[half + i] as number);
  });
}

/** In double precision. */
export function softmax(values: readonly number[]): readonly number[] {
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = values.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
