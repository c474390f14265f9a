"""Writes a random checkpoint of any supported shape, block by block, for tests and benchmarks without a network."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from recursivemas.compiler.models import load_model_config, param_specs

_STORED = {"float32": ("F32", np.float32), "float16": ("F16", np.float16), "bfloat16": ("BF16", ml_dtypes.bfloat16)}

_BLOCK_VALUES = 1 << 20

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_random_checkpoint(
    folder: Path, config: Mapping[str, Any], *, dtype: str = "bfloat16", seed: int = 0, shards: int = 1
) -> None:
    """Writes `config.json`, random weights and a byte-level tokenizer.

    Norms are near 1, biases near 0, and matrices have the spread 0.02 that transformers initialises with.

    Args:
        folder: Made if it is missing.
        config: The content of `config.json`; `vocab_size` must be at least 259.
        dtype: `float32`, `float16` or `bfloat16`.
        seed: Decides every weight.
        shards: Number of safetensors files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": dtype}, indent=2), encoding="utf-8")
    specs = param_specs(load_model_config(config))
    tensors = {name: shape for spec in specs for name, shape in zip(spec.sources, spec.source_shapes, strict=True)}
    rng = np.random.default_rng(seed)
    if shards == 1:
        _write_safetensors(folder / "model.safetensors", tensors, dtype, rng)
    else:
        weight_map: dict[str, str] = {}
        for number in range(shards):
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            part = dict(list(tensors.items())[number::shards])
            _write_safetensors(folder / file, part, dtype, rng)
            weight_map |= dict.fromkeys(part, file)
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    _write_tokenizer(folder)


def _write_safetensors(
    path: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str, rng: np.random.Generator
) -> None:
    stored, numpy_type = _STORED[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(numpy_type).itemsize
        header[name] = {"dtype": stored, "shape": list(shape), "data_offsets": [offset, offset + nbytes]}
        offset += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors.items():
            for block in _values(name, shape, rng):
                stream.write(block.astype(numpy_type).tobytes())


def _values(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    count = int(np.prod(shape, dtype=np.int64))
    centre = np.float32(1 if len(shape) == 1 and name.endswith("weight") else 0)
    for first in range(0, count, _BLOCK_VALUES):
        size = min(_BLOCK_VALUES, count - first)
        yield centre + np.float32(0.02) * rng.standard_normal(size, np.float32)


def _write_tokenizer(folder: Path) -> None:
    """One token a byte, and ChatML's special tokens; normalised as `AutoTokenizer` does it for qwen2 in any case."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={text: id_ for id_, text in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
