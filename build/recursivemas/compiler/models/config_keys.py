"""Keys of `config.json` that change nothing in inference, with the values for which that holds.

Source: the fields of transformers' configuration classes and of `PreTrainedConfig`, what older versions of both wrote,
and what common tools add. `hf_config.py` reads the other keys, and it refuses what neither knows. A test changes every
key here and compares transformers' numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NULL = type(None)

_TYPES = {
    NULL: "null",
    bool: "true or false",
    int: "an integer",
    float: "a number with a fraction",
    str: "a text",
    dict: "an object",
    list: "a list",
}


@dataclass(frozen=True)
class Inert:
    """The values with which a key changes nothing in inference.

    Attributes:
        reason: Why it changes nothing.
        types: The accepted JSON types; a bool is not an int. Any type if it is empty.
        values: The accepted values, if not every value of a type is.
    """

    reason: str
    types: tuple[type, ...] = ()
    values: tuple[Any, ...] = ()

    def accepts(self, value: object) -> bool:
        """Whether this value changes nothing."""
        if self.values:
            return any(type(value) is type(each) and value == each for each in self.values)
        return not self.types or type(value) in self.types

    @property
    def expected(self) -> str:
        """What is accepted, for messages."""
        if self.values:
            return " or ".join(json.dumps(each) for each in self.values)
        return " or ".join(_TYPES[each] for each in self.types)


def _all(reason: str, *keys: str, types: tuple[type, ...] = (), values: tuple[Any, ...] = ()) -> dict[str, Inert]:
    return dict.fromkeys(keys, Inert(reason, types, values))


_DESCRIPTION = "it says where the checkpoint comes from or what wrote it"
_DTYPE = "each tensor has a dtype of its own"
_TRAINING = "it counts in training only"
_RESULTS = "it decides what transformers returns beside the hidden states"
_SPEED = "it changes speed and memory, not numbers"
_OTHER_HEADS = "it belongs to classifiers"
_TOKENS = "it names a token; the stop rules and the tokenizer's checks read it"
_GENERATION = "transformers takes generation settings from generation_config.json only"
_OFF = "with these values, the feature is off"

COMMON: Mapping[str, Inert] = {
    **_all(_DESCRIPTION, "_name_or_path", "name_or_path", "_commit_hash", "finetuning_task", "task_specific_params"),
    # transformers writes the second one for a GGUF file.
    **_all(_DESCRIPTION, "model_type", "_model_name_or_path", "architectures", "tokenizer_class", "prefix"),
    **_all(_DESCRIPTION, "is_llama_config"),
    **_all(_DESCRIPTION, "unsloth_version", "unsloth_fixed", "transformers.js_config", "_attn_implementation_autoset"),
    **_all(_DESCRIPTION, "transformers_version", types=(str, NULL)),
    **_all(_DTYPE, "dtype", "torch_dtype", values=(None, "float32", "float16", "bfloat16", "float64")),
    **_all(_TRAINING, "initializer_range", types=(float,)),
    **_all(_TRAINING, "attention_dropout", types=(float, int)),
    **_all(_TRAINING, "gradient_checkpointing", "use_bfloat16", "tf_legacy_loss", types=(bool, NULL)),
    **_all(_TRAINING, "neftune_noise_alpha", types=(float, int, NULL)),
    **_all(_RESULTS, "output_hidden_states", "tie_last_hidden_states", types=(bool, NULL)),
    **_all(_RESULTS, "output_attentions", values=(None, False)),
    **_all(_RESULTS, "return_dict", values=(True,)),
    **_all(_SPEED, "use_cache", "torchscript", types=(bool,)),
    **_all(_SPEED, "_flash_attn_2_enabled", types=(bool, NULL)),
    **_all(_SPEED, "chunk_size_feed_forward", types=(int,)),
    **_all(_SPEED, "pretraining_tp", types=(int, NULL)),
    **_all(_SPEED, "attn_implementation", "_attn_implementation", values=(None, "eager", "sdpa")),
    **_all(_SPEED, "_attn_implementation_internal", "_experts_implementation_internal", types=(str, NULL)),
    **_all(_OTHER_HEADS, "id2label", "label2id", types=(dict, NULL)),
    **_all(_OTHER_HEADS, "num_labels", types=(int,)),
    **_all(_OTHER_HEADS, "problem_type", values=(None,)),
    **_all(_TOKENS, "bos_token_id", "sep_token_id", "cls_token_id", "unk_token_id", types=(int, NULL)),
    **_all(_TOKENS, "decoder_start_token_id", types=(int, NULL)),
    **_all(_TOKENS, "eos_token_id", types=(int, list, NULL)),
    **_all(_GENERATION, "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
    **_all(_GENERATION, "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty"),
    **_all(_GENERATION, "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids"),
    **_all(_GENERATION, "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id"),
    **_all(_GENERATION, "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty"),
    **_all(_GENERATION, "suppress_tokens", "begin_suppress_tokens", "epsilon_cutoff", "eta_cutoff"),
    **_all(_GENERATION, "encoder_repetition_penalty", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    **_all(_GENERATION, "assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind"),
    **_all("only max_position_embeddings counts", "max_sequence_length", "model_max_length", types=(int, NULL)),
    **_all("only RoPE of type llama3 reads it", "original_max_position_embeddings", types=(int,)),
    **_all("only Qwen reads it", "max_window_layers", types=(int, NULL)),
    **_all(_OFF, "is_causal", values=(True,)),
    **_all(_OFF, "is_encoder_decoder", values=(False,)),
    **_all(_OFF, "add_cross_attention", "is_decoder", "tie_encoder_decoder", values=(None, False)),
    **_all(_OFF, "use_sliding_window", "use_bidirectional_attention", "mlp_bias", values=(None, False)),
    **_all(_OFF, "use_mrope", "rope_interleaved", "rope_traditional", values=(None, False)),
    **_all(_OFF, "cross_attention_hidden_size", "attention_chunk_size", "sliding_window_pattern", values=(None,)),
    **_all(_OFF, "quantization_config", "compression_config", "quantization", "per_layer_config", values=(None,)),
    **_all(_OFF, "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", values=(None,)),
    **_all(_OFF, "attention_multiplier", "logit_scale", "clip_qkv", "no_rope_layers", values=(None,)),
    **_all(_OFF, "embedding_multiplier", "residual_multiplier", "logits_scaling", values=(None, 1, 1.0)),
    **_all(_OFF, "partial_rotary_factor", values=(None, 1, 1.0)),
    **_all(_OFF, "num_experts", "num_local_experts", values=(None, 0)),
    **_all(_OFF, "pruned_heads", values=(None, {})),
    **_all("the checkpoint brings no code of its own", "auto_map", values=({},)),
}
"""For every family; `Family.inert` has what differs in one."""
