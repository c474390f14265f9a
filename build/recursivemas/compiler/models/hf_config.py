"""Reads Hugging Face's `config.json`, in the spelling of transformers 4 or 5.

A key is read here, or `config_keys.py` says that it changes nothing, or it is refused with its name. So a compiled
model never computes other numbers than transformers. Where a key can be spelled in two ways, the one that transformers
prefers counts.

Source: `configuration_utils.py`, `modeling_rope_utils.py` and the four `configuration_*.py` of transformers.
"""

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from recursivemas.compiler.models.config import (
    LinearAttention,
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    SlidingLayers,
)
from recursivemas.compiler.models.config_keys import COMMON
from recursivemas.compiler.models.families import Family
from recursivemas.system.errors import InputError

# The default longest context and longest single call; they decide how much GPU memory a page needs.
DEFAULT_CONTEXT = 4096
DEFAULT_PREFILL_CHUNK = 1024
ROPE_TYPES = ("default", "llama3")
# The scores of a window lie in a workgroup's memory.
LARGEST_WINDOW = 4096
# The attention kernels are tested up to this width.
MAX_HEAD_DIM = 256

# Far beyond every published model; what is larger is a mistake and would keep the compiler busy for hours.
_LARGEST = {
    "num_hidden_layers": 256,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "hidden_size": 1 << 16,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 22,
}
# The kernels of gated delta networks are written for these sizes; published models have 128, 128 and 4.
_LINEAR_SIZES = {"key_head_dim": (1, 256), "value_head_dim": (1, 1024), "conv_kernel_dim": (2, 16)}
_LARGEST_POSITION = (1 << 31) - 1
_LARGEST_NUMBER = 1e30

_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_LLAMA3_KEYS = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}


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
        InputError: A value is missing or unusable, a key is unknown, or the model would be computed wrongly.
    """
    keys = _Keys(family, raw)
    keys.check_activation()
    heads = keys.positive("num_attention_heads")
    hidden = keys.positive("hidden_size")
    layers = keys.positive("num_hidden_layers")
    vocab = keys.positive("vocab_size")
    kv_heads = keys.positive("num_key_value_heads", None if family.kv_heads_required else heads)
    if heads % kv_heads != 0:
        raise keys.refuse(f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})")
    # Where the biases are fixed, `Family.inert` says which values of the key agree with them.
    bias = keys.flag("attention_bias") if family.qkv_bias is None else family.qkv_bias
    longest = keys.positive("max_position_embeddings")
    types = keys.layer_types(layers)
    window = keys.window()
    context, chunk = library_sizes(family.model_type, longest, context_window_size, prefill_chunk_size, window)
    keys.check_sliding_window(context)
    keys.check_pad_token(vocab)
    local = None
    theta, scaling, rotary = keys.rope(longest) if window is None else (*keys.layered_rope("full_attention"), None)
    if window is not None:
        local = SlidingLayers(min(window, context), *keys.layered_rope("sliding_attention"))
        keys.check_window(local.window)
    head_dim = keys.head_dim(hidden, heads)
    config = ModelConfig(
        model_type=family.model_type,
        qkv_name=family.qkv_name,
        hidden_size=hidden,
        intermediate_size=keys.positive("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=vocab,
        rms_norm_eps=keys.epsilon(),
        tie_word_embeddings=keys.flag("tie_word_embeddings"),
        qkv_bias=bias,
        o_bias=bias and family.qkv_bias is None,
        qk_norm=family.qk_norm,
        max_position_embeddings=longest,
        context_window_size=context,
        prefill_chunk_size=chunk,
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_dim=keys.rotary_dim(head_dim, rotary),
        layer_types=types,
        linear=keys.linear_attention(),
        sliding=local,
        query_pre_attn_scalar=keys.score_scalar() if local else None,
    )
    keys.refuse_the_rest()
    return config


def library_sizes(
    model_type: str, longest: int, context: int | None, chunk: int | None, window: int | None = None
) -> tuple[int, int]:
    """Chooses the context window and the prefill chunk of a library, in tokens.

    Args:
        model_type: For messages.
        longest: The longest context of the model.
        context: The requested context window; by default `longest`, at most `DEFAULT_CONTEXT`.
        chunk: The requested prefill chunk; by default the context window, at most `DEFAULT_PREFILL_CHUNK` and `window`.
        window: The sliding window of some layers, which a call must not be longer than.

    Raises:
        InputError: Either is too large.
    """
    context = context or min(longest, DEFAULT_CONTEXT)
    most_at_once = min(context, window or context)
    chunk = chunk or min(most_at_once, DEFAULT_PREFILL_CHUNK)
    for name, size, most in (("context window", context, longest), ("prefill chunk", chunk, most_at_once)):
        if not 1 <= size <= most:
            raise InputError(f"config.json ({model_type}): a {name} of 1 to {most} tokens was expected, got {size}")
    return context, chunk


def check_keys(family: Family, raw: Mapping[str, Any], read: Collection[str]) -> None:
    """Refuses what another backend's definition of one of our families would compute wrongly.

    Args:
        family: Chosen by ``model_type``.
        raw: The parsed config.json.
        read: The keys that the other backend reads.

    Raises:
        InputError: A key is neither read nor known to change nothing, or a size is beyond reason.
    """
    keys = _Keys(family, raw, set(read))
    for key in _LARGEST:
        if raw.get(key) is not None:
            keys.positive(key)
    keys.check_activation()
    keys.check_family()
    keys.check_pad_token(keys.positive("vocab_size"))
    keys.refuse_the_rest()


_ABSENT = object()


@dataclass(frozen=True)
class _Keys:
    """config.json with typed access; it remembers which keys were read.

    Attributes:
        family: Chosen by ``model_type``.
        raw: The parsed file.
        read: The keys that were asked for.
    """

    family: Family
    raw: Mapping[str, Any]
    read: set[str] = field(default_factory=set)

    def refuse(self, why: str) -> InputError:
        return InputError(f"config.json ({self.family.model_type}): {why}")

    def value(self, key: str, default: Any = _ABSENT) -> Any:
        """The value of a key, or the default if the key is absent; null stays null."""
        self.read.add(key)
        value = self.raw.get(key, self.family.defaults.get(key, default))
        if value is _ABSENT:
            raise self.refuse(f"missing key {key!r}")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        """A positive integer; absent and null mean the default, if there is one."""
        value = self.value(key, default)
        value = default if value is None else value
        if value is None:
            raise self.refuse(f"missing key {key!r}")
        return self.check_positive(key, value, _LARGEST.get(key, _LARGEST_POSITION))

    def check_positive(self, key: str, value: object, largest: int = _LARGEST_POSITION) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.refuse(f"{key}: a positive integer was expected, got {_shown(value)}")
        if value > largest:
            raise self.refuse(f"{key}: at most {largest} was expected, got {_shown(value)}")
        return value

    def check_number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST_NUMBER:
            raise self.refuse(f"{key}: a positive number was expected, got {_shown(value)}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false if the key is absent."""
        value = self.value(key, False)
        if not isinstance(value, bool):
            raise self.refuse(f"{key}: true or false was expected, got {_shown(value)}")
        return value

    def epsilon(self) -> float:
        """RMSNorm's epsilon, for which transformers takes no integer."""
        value = self.value("rms_norm_eps", 1e-6)
        epsilon = self.check_number("rms_norm_eps", value)
        if not isinstance(value, float):
            raise self.refuse(f"rms_norm_eps: transformers refuses an integer, got {value}; write {value}.0")
        return epsilon

    def head_dim(self, hidden: int, heads: int) -> int:
        """Width of a head; by default hidden_size / heads."""
        value = self.value("head_dim", None)
        if value is None and "head_dim" in self.raw and not self.family.null_head_dim:
            raise self.refuse("head_dim is null, which transformers cannot run; take the key out")
        multiple = self.family.heads_divide_hidden or (value is None and not self.family.head_dim_required)
        if multiple and hidden % heads != 0:
            raise self.refuse(f"hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads})")
        head_dim = self.positive("head_dim", None if self.family.head_dim_required else hidden // heads)
        if head_dim % 2 != 0 or head_dim > MAX_HEAD_DIM:
            raise self.refuse(f"head_dim: an even number up to {MAX_HEAD_DIM} was expected, got {head_dim}")
        return head_dim

    def check_activation(self) -> None:
        key, supported = self.family.activation_key, self.family.activations
        activation = self.value(key, supported[0])
        if activation not in supported:
            raise self.refuse(f"{key} {_shown(activation)} is not implemented; supported: {', '.join(supported)}")

    def check_pad_token(self, vocab: int) -> None:
        """Refuses a padding token with which transformers makes no embedding table."""
        token = self.value("pad_token_id", None)
        if token is None:
            return
        if isinstance(token, bool) or not isinstance(token, int) or not -vocab <= token < vocab:
            raise self.refuse(
                f"pad_token_id: null or a token below vocab_size ({vocab}) was expected, got {_shown(token)}"
            )

    def check_family(self) -> None:
        """Refuses a model that transformers takes for another family because of `layer_types`."""
        if not self.family.layer_types and "layer_types" in self.raw:
            raise self.refuse("layer_types: transformers takes the model for another family because of it; take it out")

    def layer_types(self, layers: int) -> tuple[str, ...] | None:
        """The kind of each layer, or None if all have full attention; others than those and linear ones are refused."""
        self.check_family()
        types = self.value("layer_types", None)
        if types is None:
            return self._default_layer_types(layers)
        if not isinstance(types, list) or not all(isinstance(each, str) for each in types):
            raise self.refuse(f"layer_types: a list of names was expected, got {_shown(types)}")
        if self.family.sliding_layers:
            return self._sliding_layer_types(layers, types)
        if "sliding_attention" in types:
            window = _shown(self.raw.get("sliding_window"))
            raise self.refuse(f"layer_types: sliding_attention (sliding_window {window}) is not implemented")
        linear = self.family.linear_attention
        # "attention" is an older name of the second kind, which transformers' hybrid models do not know.
        supported = {"linear_attention", "full_attention"} if linear else {"full_attention", "attention"}
        if other := set(types) - supported:
            shown = " and ".join(sorted(supported - {"attention"}))
            raise self.refuse(f"layer_types {sorted(other)} are not implemented; supported: {shown}")
        if len(types) != layers:
            raise self.refuse(f"layer_types has {len(types)} entries, num_hidden_layers is {layers}")
        if linear and "full_attention" not in types:
            raise self.refuse("layer_types: at least one full_attention was expected")
        if linear:
            self.value("full_attention_interval", None)  # transformers reads it only where layer_types is absent.
        return tuple(types) if linear else None

    def _sliding_layer_types(self, layers: int, types: list[str]) -> tuple[str, ...]:
        self.value("sliding_window_pattern", None)  # transformers reads it only where layer_types is absent.
        if other := set(types) - {"full_attention", "sliding_attention"}:
            raise self.refuse(
                f"layer_types {sorted(other)} are not implemented; supported: full_attention and sliding_attention"
            )
        if len(types) != layers:
            raise self.refuse(f"layer_types has {len(types)} entries, num_hidden_layers is {layers}")
        return tuple(types)

    def _default_layer_types(self, layers: int) -> tuple[str, ...] | None:
        if self.family.sliding_layers:
            pattern = self.check_positive("sliding_window_pattern", self.value("sliding_window_pattern", 6))
            kinds = ("full_attention", "sliding_attention")
            return tuple(kinds[(layer + 1) % pattern != 0] for layer in range(layers))
        if not self.family.linear_attention:
            return None
        interval = self.positive("full_attention_interval", 4)
        if interval > layers:
            raise self.refuse(f"full_attention_interval ({interval}) is more than num_hidden_layers ({layers})")
        return tuple("linear_attention" if (layer + 1) % interval else "full_attention" for layer in range(layers))

    def linear_attention(self) -> LinearAttention | None:
        """The shape of the gated delta networks, if the family has some."""
        if not self.family.linear_attention:
            return None
        names = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
        sizes = {name: self.positive(f"linear_{name}") for name in names}
        for name, (least, most) in _LINEAR_SIZES.items():
            if not least <= sizes[name] <= most:
                raise self.refuse(f"linear_{name}: {least} to {most} was expected, got {sizes[name]}")
        linear = LinearAttention(**sizes)
        if linear.num_value_heads % linear.num_key_heads != 0:
            raise self.refuse(
                f"linear_num_value_heads ({linear.num_value_heads}) is not a multiple of linear_num_key_heads "
                f"({linear.num_key_heads})"
            )
        return linear

    def rotary_dim(self, head_dim: int, part: float | None) -> int | None:
        """How many of a head's values RoPE rotates; None for all."""
        if part is None:
            return None
        rotary = int(head_dim * part)
        if rotary % 2 != 0 or not 2 <= rotary <= head_dim:
            raise self.refuse(
                f"partial_rotary_factor {part}: an even number of a head's {head_dim} values was expected, got {rotary}"
            )
        return rotary

    def window(self) -> int | None:
        """The window of layers with sliding attention; None if the family has no such layers."""
        if not self.family.sliding_layers:
            return None
        return self.check_positive("sliding_window", self.value("sliding_window", 4096))

    def score_scalar(self) -> int:
        """What attention scores are divided by, squared."""
        key = "query_pre_attn_scalar"
        return self.check_positive(key, self.value(key, 256))

    def check_window(self, window: int) -> None:
        """Refuses a window whose scores do not fit into a workgroup's memory."""
        if window > LARGEST_WINDOW:
            raise self.refuse(
                f"a sliding window of {window} tokens is not implemented; compile with a context window of at most "
                f"{LARGEST_WINDOW}"
            )

    def check_sliding_window(self, context: int) -> None:
        """Refuses a window that is shorter than the context; a longer one never hides anything.

        transformers' KV cache applies a window in every family, except where `use_sliding_window` turns it off.
        """
        if "sliding_window" in self.family.inert or self.family.sliding_layers:
            return
        if self.value("sliding_window", self.family.default_window) is None:
            return
        window = self.positive("sliding_window", self.family.default_window)
        if window < context:
            raise self.refuse(
                f"sliding_window {window} is shorter than the context window of {context} tokens, which is not "
                f"implemented; compile with a context window of at most {window}"
            )

    def rope(self, longest: int) -> tuple[float, Llama3Scaling | None, float | None]:
        """Base, scaling, and the part of a head that is rotated; None for the whole head.

        ``rope_scaling`` replaces ``rope_parameters``. A base in the table counts more than one beside it.
        """
        name, table = "rope_parameters", self._table("rope_parameters")
        if scaling := self._table("rope_scaling"):
            name, table = "rope_scaling", scaling
        if any(isinstance(value, dict) for value in table.values()):
            raise self.refuse("RoPE parameters that differ between layers are not implemented")
        kind = table.get("rope_type", table.get("type", "default"))
        kinds = ROPE_TYPES if self.family.default_rotary is None else ("default",)
        if kind not in kinds:
            raise self.refuse(f"rope type {_shown(kind)} is not implemented; supported: {', '.join(kinds)}")
        part = self._rotary_part(table)
        known = _ROPE_KEYS | (_LLAMA3_KEYS if kind == "llama3" else set()) | self.family.rope_inert
        for key in sorted(table.keys() - known):
            raise self.refuse(f"{name}.{key} is not implemented for the rope type {kind!r}")
        beside = self.value("rope_theta", 10000.0)
        theta = self.check_number("rope_theta", table.get("rope_theta", beside))
        return theta, self._llama3(table, longest) if kind == "llama3" else None, part

    def layered_rope(self, kind: str) -> tuple[float, LinearScaling | None]:
        """Base and scaling of a kind of layers, where kinds differ.

        Source: `Gemma3TextConfig.convert_rope_params_to_dict`. ``rope_scaling`` replaces entries of the table for full
        attention, and a base in the table counts more than one beside it.
        """
        full = kind == "full_attention"
        tables = self._table("rope_parameters")
        if unknown := sorted(tables.keys() - {"full_attention", "sliding_attention"}):
            raise self.refuse(f"rope_parameters.{unknown[0]}: a table for each kind of layer was expected")
        table = tables.get(kind) or {}
        if not isinstance(table, dict):
            raise self.refuse(f"rope_parameters.{kind}: an object was expected, got {_shown(table)}")
        scaling = self._table("rope_scaling")
        if full and tables and not tables.get(kind) and self.raw.get("rope_scaling") is not None:
            raise self.refuse("rope_scaling needs a table for full_attention in rope_parameters, or no rope_parameters")
        table = {**table, **scaling} if full else table
        beside = self.value("rope_theta", 1e6) if full else self.value("rope_local_base_freq", 1e4)
        theta = self.check_number("rope_theta", table.get("rope_theta", beside))
        name = table.get("rope_type", "default")
        if name not in ("default", "linear"):
            raise self.refuse(f"rope type {_shown(name)} is not implemented; supported: default, linear")
        known = {"rope_type", "rope_theta"} | ({"factor"} if name == "linear" else set())
        for key in sorted(table.keys() - known):
            raise self.refuse(f"rope_parameters.{kind}.{key} is not implemented for the rope type {name!r}")
        if name == "default":
            return theta, None
        if "factor" not in table:
            raise self.refuse("missing key 'factor'")
        return theta, LinearScaling(self.check_number("factor", table["factor"]))

    def _rotary_part(self, table: Mapping[str, Any]) -> float | None:
        key = "partial_rotary_factor"
        if self.family.default_rotary is None:
            if table.get(key, 1) != 1:
                raise self.refuse("RoPE on a part of the head only (partial_rotary_factor) is not implemented")
            return None
        beside = self.value(key, self.family.default_rotary)
        part = self.check_number(key, table.get(key, beside))
        if part > 1:
            raise self.refuse(f"{key}: at most 1 was expected, got {part}")
        return part

    def _table(self, key: str) -> dict[str, Any]:
        table = self.value(key, None)
        if table is not None and not isinstance(table, dict):
            raise self.refuse(f"{key}: an object was expected, got {_shown(table)}")
        return table or {}

    def _llama3(self, table: Mapping[str, Any], longest: int) -> Llama3Scaling:
        missing = {"factor", "low_freq_factor", "high_freq_factor"} - table.keys()
        for key in sorted(missing, reverse=True):
            raise self.refuse(f"missing key {key!r}")
        factor, low, high = (
            self.check_number(key, table[key]) for key in ("factor", "low_freq_factor", "high_freq_factor")
        )
        if high <= low:
            raise self.refuse(f"high_freq_factor ({high}) must be larger than low_freq_factor ({low})")
        key = "original_max_position_embeddings"
        original = self.value(key, table.get(key, longest))  # Beside the table it counts more than in it.
        return Llama3Scaling(factor, low, high, self.check_positive(key, original))

    def refuse_the_rest(self) -> None:
        """Refuses keys that were not read, unless they are known to change nothing."""
        inert = {**COMMON, **self.family.inert}
        for key in sorted(self.raw.keys() - self.read):
            if key not in inert:
                near = difflib.get_close_matches(key, [*self.read, *inert], n=1)
                hint = f"did you mean {near[0]!r}?" if near else "take it out if the model computes the same without it"
                raise self.refuse(f"unknown key {key!r}; {hint}")
            if not inert[key].accepts(self.raw[key]):
                raise self.refuse(
                    f"{key} is {_shown(self.raw[key])}, which is not implemented; accepted: {inert[key].expected}"
                )


def _shown(value: object) -> str:
    """A value as a message shows it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
