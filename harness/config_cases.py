"""Changes of `config.json` for every family, and what transformers and our own definitions make of each."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5TextRotaryEmbedding

from harness.plain_kernels import plain_kernels
from recursivemas.architectures.cpu_model import CpuModel, cpu_target
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.export import export_config
from recursivemas.compiler.models import FAMILIES, ModelConfig, load_model_config, param_specs
from recursivemas.compiler.models.config import LinearAttention
from recursivemas.compiler.models.config_keys import COMMON
from recursivemas.compiler.models.families import Family
from recursivemas.compiler.models.text_part import text_config
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import SCHEMES

Config = dict[str, Any]
CONTEXT = 64
FIRST_CALL = 29
"""Positions of the first call; the second has the rest."""

# Values of every JSON type; for most keys and most values that is a change that matters, or a refusal.
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    8,
    0.5,
    1.0,
    -1,
    "x",
    "eager",
    "float16",
    [],
    [1],
    {},
    {"0": "a"},
)

_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_OLDER = {"type": "llama3", **{key: value for key, value in _LLAMA3.items() if key != "rope_type"}}

# What one key at a time does not show: lists of the right length, tables, and keys that meet.
_TOGETHER: tuple[Config, ...] = (
    {"hidden_act": "swish"},
    {"hidden_act": "gelu"},
    {"sliding_window": 8},
    {"sliding_window": 64},
    {"sliding_window": 8, "use_sliding_window": False},
    {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
    {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 2},
    {"layer_types": ["full_attention"] * 2},
    {"layer_types": ["attention"] * 2},
    {"layer_types": ["full_attention"] * 3},
    {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8},
    {"layer_types": ["sliding_attention"] * 2, "sliding_window": 64, "use_sliding_window": True},
    {"layer_types": ["full_attention", "chunked_attention"], "attention_chunk_size": 8},
    {"layer_types": ["full_attention", "linear_attention"]},
    {"rope_theta": 50},
    {"rope_theta": 50.0},
    {"rope_theta": 50.0, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    {"rope_theta": 50.0, "rope_parameters": {"rope_type": "default"}},
    {"rope_theta": 50.0, "rope_parameters": {}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": None}},
    {"rope_parameters": {"rope_type": None}},
    {"rope_parameters": {"rope_type": "default", "factor": 3.0}},
    {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}},
    {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 7.0}}},
    {"rope_parameters": _YARN},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    {"rope_parameters": _LLAMA3},
    {"rope_parameters": {**_LLAMA3, "original_max_position_embeddings": 32}},
    {"rope_parameters": {**_LLAMA3, "partial_rotary_factor": 0.5}},
    {"rope_parameters": {**_LLAMA3, "type": "default"}},
    {"rope_parameters": {**_LLAMA3, "factor": 8}, "rope_theta": 50.0},
    {"rope_scaling": _OLDER},
    {"rope_scaling": {**_OLDER, "original_max_position_embeddings": 32}, "original_max_position_embeddings": 16},
    {"rope_scaling": {**_OLDER, "original_max_position_embeddings": 32}, "original_max_position_embeddings": None},
    {"rope_scaling": _OLDER, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    {"rope_scaling": _YARN, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    {"rope_scaling": {"rope_type": "default", "rope_theta": 9.0}, "rope_parameters": _YARN},
    {"rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
    {"pad_token_id": 59},
    {"pad_token_id": 60},
    {"eos_token_id": [1, 2]},
    {"head_dim": 16},
    {"head_dim": 6},
    {"head_dim": ...},
    {"num_key_value_heads": ...},
    {"num_key_value_heads": 4},
    {"rms_norm_eps": ...},
    {"rms_norm_eps": 0.1},
    {"rope_theta": ...},
    {"tie_word_embeddings": ...},
    {"hidden_size": 48},
    {"hidden_size": 34},
    {"num_hidden_layers": 3},
    {"num_hidden_layers": 10**6},
    {"intermediate_size": 40},
    {"max_position_embeddings": 96},
    {"per_layer_config": {"0": {"intermediate_size": 40}}},
    {"text_config": {"model_type": "llama"}},
    {"quantization_config": {"quant_method": "awq"}},
    {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
    {"configuration_files": ["config.4.0.0.json"]},
    {"num_labels": 1, "problem_type": "single_label_classification"},
    {"architectures": None},
)

_OF_FAMILIES: Mapping[str, Config] = {
    "mistral": {"sliding_window": None},
    "gemma3_text": {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": FIRST_CALL + 2,
        "rope_local_base_freq": 50.0,
        "query_pre_attn_scalar": 12,
    },
    "qwen3_5": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 12,
        "linear_conv_kernel_dim": 4,
        "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5},
    },
}

# Families whose configurations have keys that a converted checkpoint may carry along.
_OTHERS = ("cohere", "deepseek_v3", "gemma2", "gemma3_text", "gpt_neox", "gpt2", "granite", "llama4_text", "mixtral")
_OTHERS += (
    "ministral",
    "nemotron",
    "olmo2",
    "phi",
    "phi3",
    "qwen2_moe",
    "qwen3_moe",
    "smollm3",
    "stablelm",
    "starcoder2",
)
_MORE = ("skip", "transformers_weights", "distributed_config", "use_return_dict", "base_model_tp_plan", "default_theta")
_MORE += (
    "attribute_map",
    "rope_type",
    "factor",
    "rotary_dim",
    "alibi",
    "is_casual",
    "n_embd",
    "mup_scale",
    "eos_token",
)


def token_ids(vocab_size: int) -> NDArray[np.int32]:
    """(40,) what both sides read."""
    return np.random.default_rng(5).integers(0, vocab_size, 40, np.int32)


def base_config(family: str) -> Config:
    """The `config.json` that changes start from."""
    config = {
        "model_type": FAMILIES[family].config_type or family,
        "architectures": [FAMILIES[family].architecture],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 60,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_theta": 100.0,
    }
    return config | _OF_FAMILIES.get(family, {})


def keys() -> list[str]:
    """Every key of the families' classes, of `PreTrainedConfig`, of other families, and of our own tables."""
    names = set(COMMON) | set(_MORE)
    for model_type in (*FAMILIES, *(each.config_type or each.model_type for each in FAMILIES.values()), *_OTHERS):
        names |= {each.name for each in dataclasses.fields(CONFIG_MAPPING[model_type])}
    for family in FAMILIES.values():
        names |= set(family.inert)
    return sorted(names - {"model_type"})


def changes() -> Iterator[Config]:
    """Every change that the sweep tries."""
    yield from ({key: value} for key in keys() for value in _VALUES)
    yield from _TOGETHER


def changed(family: str, change: Mapping[str, Any]) -> Config:
    """The base with a change; `...` takes a key out."""
    return {key: value for key, value in {**base_config(family), **change}.items() if value is not ...}


def ours(config: Config) -> ModelConfig | None:
    """What our reader makes of it; None if it refuses it, in one line."""
    try:
        return load_model_config(config, context_window_size=CONTEXT)
    except InputError as error:
        assert "\n" not in str(error), error
        return None


def resolved(config: Config, folder: Path) -> Config:
    """What transformers makes of a configuration, in the terms of `ModelConfig`."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    read = AutoConfig.from_pretrained(folder)
    gemma = read.model_type == "gemma3_text"
    assert (read.hidden_activation == "gelu_pytorch_tanh") if gemma else read.hidden_act in ("silu", "swish")
    assert not gemma or (read.attn_logit_softcapping, read.final_logit_softcapping) == (None, None)
    assert not getattr(read, "use_bidirectional_attention", False)
    assert getattr(read, "is_causal", True) is True
    assert not getattr(read, "mlp_bias", False) or read.model_type != "llama"
    linear = read.model_type == "qwen3_5_text"
    layered = linear or gemma
    assert layered or set(getattr(read, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    window = getattr(read, "sliding_window", None)
    assert gemma or window is None or window >= CONTEXT, window
    biased = ("llama", "qwen3", "qwen3_5_text", "gemma3_text")
    bias = getattr(read, "attention_bias", False) if read.model_type in biased else False
    types = tuple(read.layer_types) if layered else None
    names = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
    return {
        "model_type": next(each.model_type for each in FAMILIES.values() if isinstance(read, _config_class(each))),
        "layer_types": types,
        "query_pre_attn_scalar": read.query_pre_attn_scalar if gemma else None,
        "window": min(window, CONTEXT) if gemma else None,
        "linear": LinearAttention(**{name: getattr(read, f"linear_{name}") for name in names}) if linear else None,
        "hidden_size": read.hidden_size,
        "intermediate_size": read.intermediate_size,
        "num_hidden_layers": read.num_hidden_layers,
        "num_attention_heads": read.num_attention_heads,
        "num_key_value_heads": read.num_key_value_heads,
        "head_dim": getattr(read, "head_dim", read.hidden_size // read.num_attention_heads),
        "vocab_size": read.vocab_size,
        "rms_norm_eps": read.rms_norm_eps,
        "tie_word_embeddings": read.tie_word_embeddings,
        "qkv_bias": read.model_type == "qwen2" or bias,
        "o_bias": bias,
        "max_position_embeddings": read.max_position_embeddings,
        **_frequencies(read),
    }


def _frequencies(read: Any) -> Config:
    """RoPE's frequencies in layers with full attention and in others, or None if there are no others."""
    if read.model_type != "gemma3_text":
        rotary = Qwen3_5TextRotaryEmbedding if read.model_type == "qwen3_5_text" else LlamaRotaryEmbedding
        return {"rope_frequencies": rotary(read).inv_freq.numpy(), "local_rope_frequencies": None}
    read.layer_types = ["full_attention", "sliding_attention"]
    both = Gemma3RotaryEmbedding(read)
    return {
        "rope_frequencies": both.full_attention_inv_freq.numpy(),
        "local_rope_frequencies": both.sliding_attention_inv_freq.numpy(),
    }


def _config_class(family: Family) -> Any:
    return CONFIG_MAPPING[family.config_type or family.model_type]


def write_checkpoint(config: Config, folder: Path) -> None:
    """Random weights of a configuration, large enough for every part of a layer to matter; the file stays as given."""
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + centre)
    model.save_pretrained(folder)
    path.write_text(json.dumps(config), encoding="utf-8")


def transformers_numbers(folder: Path, config: Config) -> NDArray[np.float32]:
    """(T, D + V) hidden states and logits, in two calls with a KV cache, loaded as training loads an agent."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True
    ).eval()
    assert isinstance(model, getattr(transformers, text_config(config)[0].architecture))
    ids = torch.from_numpy(token_ids(config["vocab_size"]))[None]
    with torch.no_grad():
        first = model.model(input_ids=ids[:, :FIRST_CALL], use_cache=True)
        second = model.model(input_ids=ids[:, FIRST_CALL:], past_key_values=first.past_key_values, use_cache=True)
        hidden = torch.cat([first.last_hidden_state, second.last_hidden_state], 1)
        numbers: NDArray[np.float32] = torch.cat([hidden, model.lm_head(hidden)], -1)[0].numpy()
    return numbers


def our_numbers(folder: Path, config: ModelConfig) -> NDArray[np.float32]:
    """The same from our definition, compiled for the CPU from the same folder."""
    checkpoint = Checkpoint(folder)
    specs = param_specs(config)
    checkpoint.check(specs)
    weights = [
        np.concatenate(
            [np.concatenate([each.copy() for each in checkpoint.read(name, 1 << 20)]) for name in spec.sources]
        )
        for spec in specs
    ]
    with plain_kernels(config):
        module = export_config(config, SCHEMES["q0f32"], cpu_target()).module
    model = CpuModel(module, weights)
    embeddings = model.embed(token_ids(config.vocab_size))[None]
    pieces = (embeddings[:, :FIRST_CALL], embeddings[:, FIRST_CALL:])
    hidden = np.concatenate([model.get_last_hidden(piece)[0] for piece in pieces])
    return np.concatenate([hidden, model.lm_head(hidden)], -1)
