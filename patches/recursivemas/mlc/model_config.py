"""Turns `config.json` into MLC-LLM's configuration objects.

Source: transformers' configuration classes. MLC-LLM reads the transformers 4 spelling; checkpoints that transformers 5
saved keep RoPE's settings in `rope_parameters` and leave out what has a default.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from recursivemas.compiler.models.config_keys import COMMON
from recursivemas.compiler.models.families import FAMILIES
from recursivemas.compiler.models.hf_config import check_keys
from recursivemas.mlc.compat.rope import yarn_factor
from recursivemas.system.errors import InputError

# Keys that MLC-LLM's classes require, although they do not change the computation or have this value by default.
_DEFAULTS: dict[str, Any] = {
    "use_cache": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.02,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
    "scoring_func": "softmax",
}

# What this module and the mapping of weights see to, whatever MLC-LLM's class reads: RoPE, windows, and keys that
# decide which tensors there are.
_SEEN_TO = {
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
}
_SEEN_TO |= {"max_position_embeddings", "head_dim", "num_key_value_heads", "tie_word_embeddings", "attention_bias"}
_SEEN_TO |= {"layer_types"}

_MOST_LAYERS = 256

_FEATURES: tuple[str, ...] = (
    "is_causal",
    "use_bidirectional_attention",
    "per_layer_config",
    "attention_chunk_size",
    "is_encoder_decoder",
)
_FEATURES += ("add_cross_attention", "embedding_multiplier", "residual_multiplier", "attention_multiplier", "clip_qkv")
_FEATURES += ("logits_scaling", "pruned_heads", "no_rope_layers", "use_mrope")
"""Keys that MLC-LLM ignores unless its class has them."""


def transformers4(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turns `rope_parameters` of transformers 5 into the keys of transformers 4 and keeps other keys.

    `rope_scaling` replaces `rope_parameters`, as in transformers.

    Args:
        raw: The parsed `config.json`, in either spelling.

    Raises:
        InputError: `rope_parameters` is no object.
    """
    config = dict(raw)
    if isinstance(config.get("text_config"), Mapping):
        config["text_config"] = transformers4(config["text_config"])
    rope = config.pop("rope_parameters", None)
    if rope is None:
        return config
    if not isinstance(rope, Mapping):
        raise InputError(f"config.json: rope_parameters: an object was expected, got {type(rope).__name__}")
    if isinstance(config.get("rope_scaling"), Mapping) and config["rope_scaling"]:
        rope = config["rope_scaling"]
    if "full_attention" in rope or "sliding_attention" in rope:  # One RoPE for each kind of layer, as in Gemma 3.
        local = rope.get("sliding_attention") or {}
        if "rope_theta" in local:
            config.setdefault("rope_local_base_freq", local["rope_theta"])
        rope = rope.get("full_attention") or {}
    settings = dict(rope)
    for old, new in (("rope_theta", "rope_theta"), ("partial_rotary_factor", "partial_rotary_factor")):
        if old in settings:
            config[new] = settings.pop(old)
    kind = settings.get("rope_type", settings.get("type", "default"))
    config["rope_scaling"] = None if kind in (None, "default") else {**settings, "type": kind, "rope_type": kind}
    return config


def longest_context(config: Any, raw: Mapping[str, Any]) -> int:
    """The longest context, in tokens, for which MLC-LLM computes what the checkpoint's own code does.

    Neither MLC-LLM's definitions nor TVM's cache apply a sliding window like the checkpoints' own code, but a window
    hides nothing if the context fits into it.

    Args:
        config: MLC-LLM's configuration object.
        raw: The parsed `config.json`.

    Raises:
        InputError: `config.json` does not give the model's longest context.
    """
    text = raw.get("text_config") if isinstance(raw.get("text_config"), Mapping) else raw
    assert text is not None
    sizes = [text.get(key) for key in ("max_position_embeddings", "n_positions", "seq_length", "max_sequence_length")]
    longest = next((size for size in sizes if isinstance(size, int) and size > 0), None)
    if longest is None:
        raise InputError("config.json: missing key 'max_position_embeddings'")
    limits = [longest]
    off = text.get("use_sliding_window") is False and text.get("model_type") not in ("llama", "mistral")
    window = text.get("sliding_window", 4096 if text.get("model_type") == "mistral" else None)
    if window and not off:
        limits.append(int(window))
    rope = text.get("rope_parameters") or {}
    if rope.get("llama_4_scaling_beta"):  # MLC-LLM does not scale the queries beyond it.
        limits.append(int(rope["original_max_position_embeddings"]))
    return min(limits)


def mlc_config(config_class: Any, raw: Mapping[str, Any]) -> Any:
    """Makes an MLC-LLM configuration object.

    Args:
        config_class: From MLC-LLM's registry.
        raw: The parsed `config.json`.

    Raises:
        InputError: A key is missing, MLC-LLM's class refuses a value, or it ignores a key that counts.
    """
    config = transformers4(raw)
    name = config.get("model_type", config_class.__name__)
    known = {field.name for field in dataclasses.fields(config_class)}
    if config.get("quantization_config", ...) is None:
        del config["quantization_config"]  # some classes read null as an unknown method
    _refuse_ignored(config_class, known, config)
    if "rope_parameters" in known:  # Ministral 3 only exists in the transformers 5 spelling.
        config["rope_parameters"] = _ministral3_rope(raw)
    if "vocab_size" in known and "vocab_size" in (nested := config.get("text_config") or {}):
        config.setdefault("vocab_size", nested["vocab_size"])
    if "sliding_window_size" in known and "text_config" not in known:
        config.pop("sliding_window", None)  # no rolling buffer: the context fits into the window instead
    if config_class.__name__ == "GPTNeoXConfig":
        config = _gpt_neox(config)
    if config.get("num_experts") is None and "num_local_experts" in config:  # Renamed in transformers 5.
        config["num_experts"] = config["num_local_experts"]
    for field in dataclasses.fields(config_class):
        if config.get(field.name, ...) is None and field.default == 0:
            del config[field.name]  # MLC-LLM derives a value from 0, not from null
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in config and field.name in _DEFAULTS:
            config[field.name] = _DEFAULTS[field.name]
        elif required and field.name not in config:
            raise InputError(f"config.json ({name}): missing key {field.name!r}")
    try:
        made = config_class.from_dict(config)
    except (ValueError, TypeError, AssertionError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"config.json ({name}): MLC-LLM's {config_class.__name__} refuses it: {reason}") from error
    if hasattr(made, "text_config"):
        made.text_config.sliding_window_pattern = _sliding_pattern(raw, made.text_config)
    return made


def _refuse_ignored(config_class: Any, known: set[str], config: dict[str, Any]) -> None:
    """Refuses keys that change what transformers computes and that MLC-LLM's class ignores.

    Raises:
        InputError: There is one.
    """
    name = config.get("model_type", config_class.__name__)
    scaling = config.get("rope_scaling")
    if isinstance(scaling, Mapping) and scaling:
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        elsewhere = known & {"text_config", "rope_parameters"}
        if kind != "default" and not elsewhere and "rope_scaling" not in inspect.getsource(config_class):
            raise InputError(f"config.json ({name}): MLC-LLM ignores rope_scaling (type {kind!r}) for this family")
        config["rope_scaling"] = None if kind == "default" else {**scaling, "type": kind, "rope_type": kind}
    for key in ("num_hidden_layers", "n_layer", "num_layers"):
        if isinstance(config.get(key), int) and config[key] > _MOST_LAYERS:
            raise InputError(f"config.json ({name}): {key}: at most {_MOST_LAYERS} was expected, got {config[key]}")
    for table in (config, config.get("text_config") or {}):
        for key in _FEATURES:
            if key in table and key not in known and not COMMON[key].accepts(table[key]):
                raise InputError(f"config.json ({name}): {key} is {table[key]!r}, which MLC-LLM ignores")
    if name in FAMILIES and "text_config" not in known:  # MLC-LLM's class of Gemma 3 has the keys in one of its own
        check_keys(FAMILIES[name], config, known | _SEEN_TO)


def _sliding_pattern(raw: Mapping[str, Any], text_config: Any) -> int:
    """The number p such that every p-th layer sees the whole context; MLC-LLM fixes it at 6.

    Raises:
        InputError: The layers have no such pattern.
    """
    text = raw.get("text_config") if isinstance(raw.get("text_config"), Mapping) else raw
    assert text is not None
    pattern = int(text.get("sliding_window_pattern") or text_config.sliding_window_pattern)
    layers = list(text.get("layer_types") or [])
    if "full_attention" in layers:
        pattern = layers.index("full_attention") + 1
    count = int(text_config.num_hidden_layers)
    expected = ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(count)]
    if layers and layers != expected:
        raise InputError(f"config.json: layer_types: one full_attention layer in every {pattern} was expected")
    return pattern


def _ministral3_rope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` without `mscale_all_dim`, with which MLC-LLM scales the softmax, unlike transformers."""
    rope = dict(raw.get("rope_scaling") or raw.get("rope_parameters") or {})
    if rope.get("rope_type") == "yarn" and rope.get("attention_factor") is None:
        rope["attention_factor"] = yarn_factor(rope)
    rope["mscale_all_dim"] = 0
    return rope


def _gpt_neox(config: dict[str, Any]) -> dict[str, Any]:
    """Renames RoPE's settings to the names that GPT-NeoX had before transformers 5."""
    config = dict(config)
    if "rope_theta" in config:
        config.setdefault("rotary_emb_base", config["rope_theta"])
    if "partial_rotary_factor" in config:
        config.setdefault("rotary_pct", config["partial_rotary_factor"])
    return config
