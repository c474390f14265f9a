"""Writes GGUF files from models of transformers as llama.cpp's converter does, with a tiny byte-level tokenizer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

Packing = Callable[[str, NDArray[np.float32]], gguf.GGMLQuantizationType]

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
SPECIAL = ("<|endoftext|>", "<|im_start|>")
VOCABULARY = [*sorted(ByteLevel.alphabet()), "ab", *SPECIAL]

_ARCHITECTURES = {"gemma3_text": "gemma3", "mistral": "llama"}


def plain(name: str, values: NDArray[np.float32]) -> gguf.GGMLQuantizationType:
    """Stores everything as float32."""
    return gguf.GGMLQuantizationType.F32


def write_gguf(
    model: Any, path: Path, packing: Packing = plain, metadata: Mapping[str, Any] | None = None, pre: str = "smollm"
) -> Path:
    """Writes a model; its vocabulary must have room for `VOCABULARY`.

    Args:
        model: Of transformers, in float32.
        path: The file.
        packing: How each tensor is packed, by its name in the file and its values.
        metadata: Values that replace the writer's own, or None to leave a key out.
        pre: Name of the tokenizer's steps.
    """
    config = model.config
    name = _ARCHITECTURES.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, name)
    values = {**_sizes(config, name), **_tokenizer(config.vocab_size, pre), **(metadata or {})}
    for key, value in values.items():
        if value is not None:
            _add(writer, key, value)
    tied = config.tie_word_embeddings
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for hf_name, tensor in model.state_dict().items():
        if hf_name == "lm_head.weight" and tied:
            continue
        stored = names.get_name(hf_name, (".weight", ".bias"))
        array = _converted(hf_name, tensor, config, name)
        kind = packing(stored, array)
        writer.add_tensor(stored, gguf.quants.quantize(array, kind), raw_dtype=kind)
    for key, array in _frequencies(config).items():
        writer.add_tensor(key, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _sizes(config: Any, name: str) -> dict[str, Any]:
    rope = config.rope_parameters
    full = rope.get("full_attention", rope)
    values = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.key_length": getattr(config, "head_dim", None),
        "attention.value_length": getattr(config, "head_dim", None),
        "rope.freq_base": full["rope_theta"],
    }
    if name == "gemma3":
        values["attention.sliding_window"] = config.sliding_window
    if name == "llama":
        values["vocab_size"] = config.vocab_size
        values["rope.dimension_count"] = config.head_dim
    return {f"{name}.{key}": value for key, value in values.items()}


def _tokenizer(size: int, pre: str) -> dict[str, Any]:
    tokens = [*VOCABULARY, *(f"[PAD{index}]" for index in range(len(VOCABULARY), size))]
    kinds = [1] * (len(VOCABULARY) - len(SPECIAL)) + [3] * len(SPECIAL) + [5] * (size - len(VOCABULARY))
    return {
        "general.license": "apache-2.0",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": VOCABULARY.index(SPECIAL[0]),
        "tokenizer.ggml.bos_token_id": VOCABULARY.index(SPECIAL[1]),
        "tokenizer.chat_template": TEMPLATE,
    }


def _converted(hf_name: str, tensor: torch.Tensor, config: Any, name: str) -> NDArray[np.float32]:
    array = tensor.float().numpy()
    if name == "llama" and ".self_attn.q_proj." in hf_name:
        return _permuted(array, config.num_attention_heads)
    if name == "llama" and ".self_attn.k_proj." in hf_name:
        return _permuted(array, config.num_key_value_heads)
    return array + 1 if name == "gemma3" and hf_name.endswith("norm.weight") else array


def _permuted(array: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    halves = array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))


def _frequencies(config: Any) -> dict[str, NDArray[np.float32]]:
    """Llama 3's divisors of RoPE's frequencies."""
    rope = config.rope_parameters
    if rope.get("rope_type") != "llama3":
        return {}
    frequencies = 1 / rope["rope_theta"] ** (np.arange(0, config.head_dim, 2) / config.head_dim)
    wavelengths = 2 * np.pi / frequencies
    original, low, high = (
        rope[key] for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)}
