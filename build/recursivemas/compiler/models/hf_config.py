"""Reads Hugging Face's `config.json`, in the spelling of transformers 4 or 5.

Every key that changes what a model computes is either implemented or refused, so that a compiled model never computes
other numbers than the checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recursivemas.compiler.models.config import Llama3Scaling, ModelConfig
from recursivemas.compiler.models.families import Family
from recursivemas.system.errors import InputError

# The default longest context and longest single call; they decide how much GPU memory a page needs.
DEFAULT_CONTEXT = 4096
DEFAULT_PREFILL_CHUNK = 1024
ROPE_TYPES = ("default", "llama3")
ACTIVATIONS = ("silu", "swish")
# The attention kernels are tested up to this width.
MAX_HEAD_DIM = 256

# Keys of other architectures, or of variants of these, with the values that leave the computation as it is.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "mlp_bias": (None, False),
    "use_sliding_window": (None, False),
    "partial_rotary_factor": (None, 1, 1.0),
    "num_local_experts": (None, 0),
    "num_experts": (None, 0),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "embedding_multiplier": (None, 1, 1.0),
    "residual_multiplier": (None, 1, 1.0),
    "attention_multiplier": (None,),
    "logits_scaling": (None, 1, 1.0),
    "logit_scale": (None, 1, 1.0),
    "clip_qkv": (None,),
    "no_rope_layers": (None,),
    "use_mrope": (None, False),
    "attention_chunk_size": (None,),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
}


def read_config(
    family: Family, raw: Mapping[str, Any], context_window_size: int | None, prefill_chunk_size: int | None
) -> ModelConfig:
    """Turns config.json into a `ModelConfig`.

    Args:
        family: Chosen by ``architectures`` or ``model_type``.
        raw: The parsed file.
        context_window_size: In tokens; by default the checkpoint's, at most `DEFAULT_CONTEXT`.
        prefill_chunk_size: In tokens; by default the context, at most `DEFAULT_PREFILL_CHUNK`.

    Raises:
        InputError: A value is missing or unusable, or the model would be computed wrongly.
    """
    keys = _Keys(family.model_type, raw)
    keys.refuse_what_is_not_implemented()
    heads = keys.positive("num_attention_heads")
    hidden = keys.positive("hidden_size")
    kv_heads = keys.positive("num_key_value_heads", None if family.kv_heads_required else heads)
    attention_bias = keys.flag("attention_bias", default=bool(family.qkv_bias))
    if family.qkv_bias is not None and attention_bias is not family.qkv_bias:
        raise keys.refuse(f"attention_bias is {attention_bias}; only {family.qkv_bias} is implemented")
    longest = keys.positive("max_position_embeddings")
    context, chunk = library_sizes(family.model_type, longest, context_window_size, prefill_chunk_size)
    keys.refuse_sliding_window(context)
    theta, scaling = keys.rope()
    return ModelConfig(
        model_type=family.model_type,
        qkv_name=family.qkv_name,
        hidden_size=hidden,
        intermediate_size=keys.positive("intermediate_size"),
        num_hidden_layers=keys.positive("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_divisor(keys, kv_heads, heads),
        head_dim=keys.head_dim(family, hidden, heads),
        vocab_size=keys.positive("vocab_size"),
        rms_norm_eps=keys.number("rms_norm_eps", 1e-6),
        tie_word_embeddings=keys.flag("tie_word_embeddings", default=False),
        qkv_bias=attention_bias,
        o_bias=attention_bias and family.qkv_bias is None,
        qk_norm=family.qk_norm,
        max_position_embeddings=longest,
        context_window_size=context,
        prefill_chunk_size=chunk,
        rope_theta=theta,
        rope_scaling=scaling,
    )


def library_sizes(model_type: str, longest: int, context: int | None, chunk: int | None) -> tuple[int, int]:
    """Chooses the context window and the prefill chunk of a library, in tokens.

    Args:
        model_type: For messages.
        longest: The longest context of the model.
        context: The requested context window; by default `longest`, at most `DEFAULT_CONTEXT`.
        chunk: The requested prefill chunk; by default the context window, at most `DEFAULT_PREFILL_CHUNK`.

    Raises:
        InputError: Either is too large.
    """
    context = context or min(longest, DEFAULT_CONTEXT)
    chunk = chunk or min(context, DEFAULT_PREFILL_CHUNK)
    for name, size, most in (("context window", context, longest), ("prefill chunk", chunk, context)):
        if not 1 <= size <= most:
            raise InputError(f"config.json ({model_type}): a {name} of 1 to {most} tokens was expected, got {size}")
    return context, chunk


def _divisor(keys: "_Keys", kv_heads: int, heads: int) -> int:
    if heads % kv_heads != 0:
        raise keys.refuse(f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})")
    return kv_heads


@dataclass(frozen=True)
class _Keys:
    """config.json with typed access; messages name `model_type`."""

    model_type: str
    raw: Mapping[str, Any]

    def refuse(self, why: str) -> InputError:
        return InputError(f"config.json ({self.model_type}): {why}")

    def positive(self, key: str, default: int | None = None) -> int:
        value = self.raw.get(key)
        if value is None:
            value = default
        if value is None:
            raise self.refuse(f"missing key {key!r}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.refuse(f"{key}: a positive integer was expected, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None, table: Mapping[str, Any] | None = None) -> float:
        value = (self.raw if table is None else table).get(key)
        if value is None:
            value = default
        if value is None:
            raise self.refuse(f"missing key {key!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.refuse(f"{key}: a positive number was expected, got {value!r}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(f"{key}: true or false was expected, got {value!r}")
        return value

    def head_dim(self, family: Family, hidden: int, heads: int) -> int:
        if self.raw.get("head_dim") is None and not family.head_dim_required and hidden % heads != 0:
            raise self.refuse(f"hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads})")
        head_dim = self.positive("head_dim", None if family.head_dim_required else hidden // heads)
        if head_dim % 2 != 0 or head_dim > MAX_HEAD_DIM:
            raise self.refuse(f"head_dim: an even number up to {MAX_HEAD_DIM} was expected, got {head_dim}")
        return head_dim

    def refuse_what_is_not_implemented(self) -> None:
        for key, neutral in _NEUTRAL.items():
            value = self.raw.get(key)
            if value not in neutral:
                shown = type(value).__name__ if isinstance(value, dict | list) else repr(value)
                raise self.refuse(f"{key} is {shown}, which is not implemented")
        activation = self.raw.get("hidden_act", "silu")
        if activation not in ACTIVATIONS:
            raise self.refuse(f"hidden_act {activation!r} is not implemented; supported: {', '.join(ACTIVATIONS)}")

    def refuse_sliding_window(self, context: int) -> None:
        """Refuses a window that is shorter than the context; a longer one never hides anything."""
        kinds = set(self.raw.get("layer_types") or ["full_attention"])
        if kinds - {"full_attention", "sliding_attention"}:
            raise self.refuse(f"layer_types {sorted(kinds)} are not implemented; supported: full_attention")
        # Qwen2 and Qwen3 write a window even if use_sliding_window turns it off.
        used = "sliding_attention" in kinds or "use_sliding_window" not in self.raw
        if not used or self.raw.get("sliding_window") is None:
            if "sliding_attention" in kinds:
                raise self.refuse("sliding_attention layers without a sliding_window")
            return
        window = self.positive("sliding_window")
        if window < context:
            raise self.refuse(
                f"sliding_window {window} is shorter than the context window of {context} tokens, which is not "
                f"implemented; compile with a context window of at most {window}"
            )

    def rope(self) -> tuple[float, Llama3Scaling | None]:
        """Base and scaling, from ``rope_parameters`` (transformers 5) or the two older keys."""
        table = self.raw.get("rope_parameters") or self.raw.get("rope_scaling") or {}
        if not isinstance(table, dict) or any(isinstance(value, dict) for value in table.values()):
            raise self.refuse("RoPE parameters that differ between layers are not implemented")
        kind = table.get("rope_type", table.get("type", "default"))
        if kind not in ROPE_TYPES:
            raise self.refuse(f"rope type {kind!r} is not implemented; supported: {', '.join(ROPE_TYPES)}")
        if table.get("partial_rotary_factor") not in _NEUTRAL["partial_rotary_factor"]:
            raise self.refuse("RoPE on a part of the head only (partial_rotary_factor) is not implemented")
        theta = self.number("rope_theta", table=table) if "rope_theta" in table else self.number("rope_theta", 10000.0)
        if kind == "default":
            return theta, None
        low, high = self.number("low_freq_factor", table=table), self.number("high_freq_factor", table=table)
        if high <= low:
            raise self.refuse(f"high_freq_factor ({high}) must be larger than low_freq_factor ({low})")
        original = int(self.number("original_max_position_embeddings", table=table))
        return theta, Llama3Scaling(self.number("factor", table=table), low, high, original)
