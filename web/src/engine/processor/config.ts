/**
 * What the processor computes: dense decoders in float32, as `mlc-chat-config.json` of an agent describes them.
 *
 * Source: `ModelConfig` of build/recursivemas/compiler/models/config.py, which writes the keys under `model_config`.
 */
import * as v from "valibot";
import { describeIssues } from "../../formats/describe";
import { reasonOf } from "../../formats/errors";
import { EngineError } from "../errors";
import type { AgentSpec } from "../system";

const size = v.pipe(v.number(), v.integer(), v.minValue(1));
const positive = v.pipe(v.number(), v.gtValue(0));
/** Other keys are allowed: they belong to other families, or to programs that compile. */
const schema = v.object({
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: v.pipe(size, v.multipleOf(2)),
  vocab_size: size,
  rms_norm_eps: positive,
  rope_theta: positive,
  rope_scaling: v.nullish(v.null()),
  qkv_name: v.picklist(["qkv_proj", "c_attn"]),
  qkv_bias: v.boolean(),
  o_bias: v.boolean(),
  qk_norm: v.boolean(),
  tie_word_embeddings: v.boolean(),
});

/** The shape of a decoder, with the keys of the file. */
export type DecoderConfig = v.InferOutput<typeof schema>;

/**
 * Reads the configuration of an agent.
 *
 * @param text - of `mlc-chat-config.json`.
 * @throws EngineError `bad-manifest` if it is broken, or describes what the processor does not compute.
 */
export function parseConfig(text: string, spec: AgentSpec): DecoderConfig {
  const fail = (problem: string): EngineError =>
    new EngineError("bad-manifest", `agent '${spec.id}': mlc-chat-config.json ${problem}`);
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw fail(`is not valid JSON (${reasonOf(error)})`);
  }
  const parsed = v.safeParse(v.object({ model_config: schema }), data);
  if (!parsed.success)
    throw fail(
      `describes no model that the engine computes without a GPU (${describeIssues(parsed.issues)}); use a browser ` +
        "with WebGPU, or rebuild the system with 'rmas build'",
    );
  const { model_config: config } = parsed.output;
  if (config.num_attention_heads % config.num_key_value_heads !== 0)
    throw fail(
      `has ${config.num_attention_heads} heads for ${config.num_key_value_heads} of keys and values`,
    );
  if (config.hidden_size !== spec.hiddenSize || config.vocab_size !== spec.vocabSize)
    throw fail(
      `has hidden size ${config.hidden_size} and ${config.vocab_size} tokens, system.json ${spec.hiddenSize} and ` +
        `${spec.vocabSize}; rebuild the system with 'rmas build'`,
    );
  return config;
}
