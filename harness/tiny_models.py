"""Random tiny checkpoints of every family, with shapes that trip up careless code, and their quantized twins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

Array = NDArray[np.float32]
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Case:
    """A checkpoint to make.

    Attributes:
        name: The family's, and more where it has several.
        architecture: Class in transformers.
        shape: Arguments of its configuration.
        seed: Of the weights.
    """

    name: str
    architecture: str
    shape: Mapping[str, Any]
    seed: int


def _shape(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, head_dim: int, vocab: int, **more: Any
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 1,
        **more,
    }


# Three value heads to a key head, heads of different widths, and a state that forgets at every pace.
LINEAR = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 20,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_section": [1, 1, 1],
        "mrope_interleaved": True,
    },
    "tie_word_embeddings": True,
}

# Windows that end within a context, layers of both kinds with a RoPE each, and scores of a scale of their own.
SLIDING = {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
    "sliding_window": 64,
    "query_pre_attn_scalar": 30,
    "pad_token_id": None,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    },
}

# Odd layer counts, one and several key-value heads, heads that are not hidden_size / heads wide, widths and
# vocabularies that are no multiples of 32.
CASES = (
    Case("qwen2", "Qwen2ForCausalLM", _shape(60, 88, 3, 6, 1, 16, 103, tie_word_embeddings=True), 1),
    Case("qwen3", "Qwen3ForCausalLM", _shape(64, 96, 1, 4, 4, 24, 1031, attention_bias=True), 2),
    Case("llama", "LlamaForCausalLM", _shape(72, 104, 3, 6, 3, 32, 97, rope_parameters=LLAMA3_ROPE), 3),
    Case("mistral", "MistralForCausalLM", _shape(40, 72, 5, 10, 2, 8, 75, sliding_window=None), 4),
    Case("qwen3_5", "Qwen3_5ForCausalLM", _shape(60, 88, 5, 6, 3, 24, 101, **LINEAR), 5),
    Case("gemma3_text", "Gemma3ForCausalLM", _shape(60, 88, 4, 6, 3, 24, 101, **SLIDING), 6),
)


def make_model(case: Case) -> torch.nn.Module:
    """A random float32 model, livelier than at initialisation so that mistakes show."""
    architecture = getattr(transformers, case.architecture)
    config = architecture.config_class(**case.shape)
    config._attn_implementation = "eager"
    torch.manual_seed(case.seed)
    model: torch.nn.Module = architecture(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("A_log"):
                parameter.uniform_(-4, 2)
            elif name.endswith("dt_bias"):
                parameter.normal_(-2, 2)
            elif parameter.ndim > 1:
                parameter.normal_(std=1.5 / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    return model


def save(model: Any, folder: Path) -> dict[str, Any]:
    """Writes a checkpoint; returns its config.json."""
    model.save_pretrained(folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def dequantized(weight: torch.Tensor) -> torch.Tensor:
    """What an (out, in) weight is after MLC's 4-bit group quantization and back, in float32.

    Source: MLC-LLM: groups of 32 along the input axis, scale = max|w| / 7, q = clip(round(w / scale + 7), 0, 14).
    """
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % 32)).reshape(rows, -1, 32)
    scale = padded.abs().amax(-1, keepdim=True) / 7
    q = torch.clamp(torch.round(padded / scale + 7), 0, 14)
    return ((q - 7) * scale).reshape(rows, -1)[:, :columns]


def quantize_in_place(model: torch.nn.Module) -> None:
    """Replaces every linear and embedding weight by its dequantized twin."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(dequantized(parameter))


def relative(a: Array, b: Array) -> float:
    """The norm of a - b over that of b."""
    a64, b64 = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a64.shape == b64.shape, (a64.shape, b64.shape)
    return float(np.linalg.norm(a64 - b64) / np.linalg.norm(b64))
