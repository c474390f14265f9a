/** A decoder of two layers: its configuration, and weights of no meaning. */
import type { DecoderConfig } from "../../src/engine/processor/config";

export const CONFIG: DecoderConfig = {
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: 7,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  qkv_name: "c_attn",
  qkv_bias: true,
  o_bias: false,
  qk_norm: true,
  tie_word_embeddings: true,
};

/** Weights of any size that are the same in every run. */
export function weights(): Map<string, { shape: number[]; data: Float32Array }> {
  let state = 1;
  const next = (): number => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647 - 0.5;
  };
  const tensor = (...shape: number[]) => ({
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next),
  });
  const layers = [0, 1].flatMap((layer) => {
    const at = `model.layers.${layer}`;
    return [
      [`${at}.input_layernorm.weight`, tensor(4)],
      [`${at}.self_attn.c_attn.weight`, tensor(16, 4)],
      [`${at}.self_attn.c_attn.bias`, tensor(16)],
      [`${at}.self_attn.q_norm.weight`, tensor(4)],
      [`${at}.self_attn.k_norm.weight`, tensor(4)],
      [`${at}.self_attn.o_proj.weight`, tensor(4, 8)],
      [`${at}.post_attention_layernorm.weight`, tensor(4)],
      [`${at}.mlp.gate_up_proj.weight`, tensor(12, 4)],
      [`${at}.mlp.down_proj.weight`, tensor(4, 6)],
    ] as const;
  });
  return new Map([["model.embed_tokens.weight", tensor(7, 4)], ["model.norm.weight", tensor(4)], ...layers]);
}
