"""A GGUF file as a Hugging Face checkpoint: its `config.json`, and its tensors under transformers' names.

Source: llama.cpp's converter, whose changes are undone here: it exchanges rows of llama's query and key projections
and adds one to Gemma's norms. The result equals what transformers loads with `gguf_file=`.

A key or a tensor that is not known is refused with its name, because it could change what the model computes.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recursivemas.system.errors import InputError
from recursivemas.system.gguf_file import GgufFile, GgufTensor, unpack
from recursivemas.system.quantize import row_blocks

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GEMMA_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_FREQUENCIES = "rope_freqs.weight"


@dataclass(frozen=True)
class _Architecture:
    """How one of llama.cpp's architectures becomes one of transformers'.

    Attributes:
        model_type: transformers' name.
        class_name: transformers' class.
        layer: Names of a layer's tensors.
        permuted: Whether rows of queries and keys were exchanged.
        offset_norms: Whether one was added to norms.
    """

    model_type: str
    class_name: str
    layer: Mapping[str, str]
    permuted: bool = False
    offset_norms: bool = False


_ARCHITECTURES = {
    "llama": _Architecture("llama", "LlamaForCausalLM", _LAYER, permuted=True),
    "qwen2": _Architecture("qwen2", "Qwen2ForCausalLM", _LAYER),
    "qwen3": _Architecture("qwen3", "Qwen3ForCausalLM", {**_LAYER, **_HEAD_NORMS}),
    "gemma3": _Architecture(
        "gemma3_text", "Gemma3ForCausalLM", {**_LAYER, **_HEAD_NORMS, **_GEMMA_NORMS}, offset_norms=True
    ),
}

_LLAMA3_FACTORS = (8.0, 32.0)
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192
"""RoPE's scaling of Llama 3.1 (8) and 3.2 (32). A file has only the divisors that follow from one of them."""


@dataclass(frozen=True)
class _Source:
    """Where a tensor of transformers comes from.

    Attributes:
        stored: The file's tensor.
        shape: As transformers has it.
        heads: Number of heads whose rows were exchanged; 0 if none were.
        offset: What the converter has added to it.
    """

    stored: GgufTensor
    shape: tuple[int, ...]
    heads: int = 0
    offset: float = 0.0


class GgufModel:
    """A GGUF file under transformers' names.

    Attributes:
        file: The file.
        config: `config.json`.
        sources: By transformers' name of the tensor.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file; no weights are read, except for RoPE's table of divisors.

        Raises:
            InputError: It cannot be read, or its architecture, a key or a tensor is not known.
        """
        self.file = GgufFile(path)
        name = self.file.text("general.architecture")
        if name not in _ARCHITECTURES:
            known = ", ".join(_ARCHITECTURES)
            raise InputError(f"{path}: architecture {name!r} cannot be read from GGUF; supported: {known}")
        self._keys = _Keys(self.file, name)
        self._architecture = _ARCHITECTURES[name]
        self.config = self._config()
        self.sources = {self._name(each.name): self._source(each) for each in self._weights()}

    def blocks(self, name: str, max_values: int) -> Iterator[NDArray[np.float32]]:
        """Reads a tensor in blocks of whole rows.

        Args:
            name: Of transformers.
            max_values: The most values in a block (a single row may have more).

        Yields:
            (R, ...) float32, one block after the other.
        """
        source = self.sources[name]
        shape = source.shape
        if source.heads == 0 and len(shape) > 1:
            for first, count in row_blocks(shape, max_values):
                yield self._unpacked(source, self.file.packed(source.stored, first, count))
            return
        packed = self.file.packed(source.stored, 0, source.stored.rows)
        if len(shape) == 1:
            vector = self._unpacked(source, packed).reshape(-1)
            yield vector[_original_rows(shape[0], source.heads)] if source.heads else vector
            return
        packed = packed[_original_rows(shape[0], source.heads)]
        for first, count in row_blocks(shape, max_values):
            yield self._unpacked(source, packed[first : first + count])

    def _unpacked(self, source: _Source, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = unpack(packed, source.stored.type_name)
        return values - np.float32(source.offset) if source.offset else values

    def _weights(self) -> Iterator[GgufTensor]:
        return (each for each in self.file.tensors.values() if each.name != _FREQUENCIES)

    def _name(self, stored: str) -> str:
        stem, _, kind = stored.rpartition(".")
        match = re.fullmatch(r"blk\.(0|[1-9][0-9]{0,3})\.(\w+)", stem)
        if kind in ("weight", "bias"):
            if stem in _TOP:
                return f"{_TOP[stem]}.{kind}"
            if match and match[2] in self._architecture.layer:
                return f"model.layers.{match[1]}.{self._architecture.layer[match[2]]}.{kind}"
        raise InputError(f"{self.file.path}: tensor {stored!r} is not known for {self._architecture.model_type}")

    def _source(self, stored: GgufTensor) -> _Source:
        shape = stored.shape
        heads = 0
        if self._architecture.permuted and re.search(r"\.attn_[qk]\.", stored.name):
            heads = self.config["num_attention_heads" if ".attn_q." in stored.name else "num_key_value_heads"]
            if shape[0] % (2 * heads):
                raise InputError(f"{self.file.path}: tensor {stored.name!r} has {shape[0]} rows for {heads} heads")
        added = self._architecture.offset_norms and stored.name.endswith("norm.weight")
        return _Source(stored, shape, heads, 1.0 if added else 0.0)

    def _config(self) -> dict[str, Any]:
        keys, tensors = self._keys, self.file.tensors
        table = tensors.get("token_embd.weight")
        if table is None or len(table.shape) != 2:
            raise InputError(f"{self.file.path}: has no table of embeddings ('token_embd.weight')")
        heads, hidden = keys.size("attention.head_count"), keys.size("embedding_length")
        head_dim = keys.size("attention.key_length", keys.size("rope.dimension_count", hidden // heads))
        config = {
            "architectures": [self._architecture.class_name],
            "model_type": self._architecture.model_type,
            "vocab_size": keys.same("vocab_size", table.shape[0]),
            "hidden_size": hidden,
            "intermediate_size": keys.size("feed_forward_length"),
            "num_hidden_layers": keys.size("block_count", most=_MOST_LAYERS),
            "num_attention_heads": heads,
            "num_key_value_heads": keys.size("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "max_position_embeddings": keys.size("context_length"),
            "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": "output.weight" not in tensors,
            "dtype": "float32",
            **keys.tokens(),
        }
        keys.same("attention.value_length", head_dim)
        keys.same("rope.dimension_count", head_dim)
        keys.same("expert_count", 0)
        config |= self._gemma(head_dim) if self._architecture.offset_norms else self._others()
        keys.refuse_the_rest()
        return config

    def _others(self) -> dict[str, Any]:
        keys = self._keys
        theta = keys.number("rope.freq_base", 10000.0)
        keys.same("rope.scaling.type", "none")
        config: dict[str, Any] = {"hidden_act": "silu", "rope_theta": theta}
        if _FREQUENCIES in self.file.tensors:
            config["rope_scaling"] = self._llama3_scaling(theta)
        if self._architecture.permuted and "blk.0.attn_q.bias" in self.file.tensors:
            config["attention_bias"] = True
        return config

    def _gemma(self, head_dim: int) -> dict[str, Any]:
        """What Gemma 3 has beside the others.

        llama.cpp itself knows that five sliding layers come before each full one, that their RoPE has base 10,000, and
        that scores are scaled by the head's width (27B: by hidden size / heads).
        """
        keys = self._keys
        layers, heads = keys.size("block_count", most=_MOST_LAYERS), keys.size("attention.head_count")
        hidden = keys.size("embedding_length")
        scaling = keys.same("rope.scaling.type", "none", "linear")
        full: dict[str, Any] = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base", 1e6)}
        if scaling == "linear":
            full = {**full, "rope_type": "linear", "factor": keys.number("rope.scaling.factor")}
        local = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base_swa", 10000.0)}
        return {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": hidden // heads if layers == 62 else head_dim,
            "sliding_window": keys.size("attention.sliding_window"),
            "layer_types": [
                "full_attention"
                if (layer + 1) % keys.size("attention.sliding_window_pattern", 6) == 0
                else "sliding_attention"
                for layer in range(layers)
            ],
            "rope_parameters": {"full_attention": full, "sliding_attention": local},
            "final_logit_softcapping": None,
            "attn_logit_softcapping": None,
        }

    def _llama3_scaling(self, theta: float) -> dict[str, Any]:
        """The scaling from which the file's table of divisors follows."""
        stored = self.file.tensors[_FREQUENCIES]
        divisors = unpack(self.file.packed(stored, 0, stored.rows), stored.type_name).reshape(-1)
        frequencies = 1 / theta ** (np.arange(len(divisors), dtype=np.float64) / len(divisors))
        turns = _LLAMA3_CONTEXT * frequencies / (2 * math.pi)
        smooth = np.clip((turns - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW), 0, 1)
        for factor in _LLAMA3_FACTORS:
            if np.allclose(divisors, 1 / ((1 - smooth) / factor + smooth), rtol=1e-5):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": _LLAMA3_LOW,
                    "high_freq_factor": _LLAMA3_HIGH,
                    "original_max_position_embeddings": _LLAMA3_CONTEXT,
                }
        raise InputError(
            f"{self.file.path}: {_FREQUENCIES} is neither Llama 3.1's scaling of RoPE nor 3.2's; "
            "use the original checkpoint"
        )


def _original_rows(rows: int, heads: int) -> NDArray[np.int64]:
    """For each row of transformers' projection, its row in the file.

    Source: `permute` of llama.cpp's converter, which puts the two halves of a head's rows alternately.
    """
    return np.arange(rows, dtype=np.int64).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


_ABSENT = object()

_WITHOUT_EFFECT = frozenset({"rope.scaling.original_context_length", "rope.scaling.finetuned"})
"""They count only for kinds of scaling that are refused."""

_MOST_LAYERS = 1 << 10


class _Keys:
    """Typed access to an architecture's keys; it remembers which ones were read."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self._file, self._architecture = file, architecture
        self._read: set[str] = set()

    def full(self, key: str) -> str:
        return f"{self._architecture}.{key}"

    def size(self, key: str, default: int | None = None, most: int = (1 << 31) - 1) -> int:
        value = self._value(key, _ABSENT if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise self._refuse(key, f"an integer from 1 to {most} was expected", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, _ABSENT if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise self._refuse(key, "a positive number was expected", value)
        return float(str(np.float32(value)))  # the shortest text of a float32 is what the converter was given

    def same(self, key: str, *expected: Any) -> Any:
        """The value, which must be one of these; the first of them if the key is absent."""
        value = self._value(key, expected[0])
        if value not in expected or isinstance(value, bool):
            raise self._refuse(key, f"{' or '.join(map(repr, expected))} was expected", value)
        return value

    def tokens(self) -> dict[str, int]:
        """Ids of special tokens, as `config.json` has them."""
        names = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
        found = {}
        for stored, name in names.items():
            value = self._file.metadata.get(f"tokenizer.ggml.{stored}_token_id")
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise self._refuse(f"tokenizer.ggml.{stored}_token_id", "a token id was expected", value)
                found[name] = value
        return found

    def refuse_the_rest(self) -> None:
        start = f"{self._architecture}."
        for key in sorted(self._file.metadata):
            if key.startswith(start) and key.removeprefix(start) not in self._read | _WITHOUT_EFFECT:
                raise InputError(f"{self._file.path}: the key {key!r} is not known, and could change the numbers")

    def _value(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._file.metadata.get(self.full(key), default)
        if value is _ABSENT:
            raise InputError(f"{self._file.path}: the key {self.full(key)!r} is missing")
        return value

    def _refuse(self, key: str, expected: str, value: object) -> InputError:
        return InputError(f"{self._file.path}: {key}: {expected}, got {value!r:.60}")
