"""A model's dimensions, whichever backend defines it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recursivemas.compiler.models import ModelConfig
from recursivemas.system.quantize import Scheme

KV_PAGE_POSITIONS = 16
"""Positions per KV-cache page, as the engine creates the cache; the runtime keeps one page more than the context
fills."""

_OF_SOME_FAMILIES = ("rotary_dim", "layer_types", "linear", "sliding", "query_pre_attn_scalar")
"""Fields of `ModelConfig` that `model_config` has only where they say something."""


@dataclass(frozen=True)
class CacheShape:
    """What a model's KV cache holds.

    Attributes:
        num_hidden_layers: Layers with a cache.
        num_attention_heads: Query heads.
        num_key_value_heads: Key (or value) heads.
        qk_head_dim: Width of a key head.
        v_head_dim: Width of a value head.
    """

    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    qk_head_dim: int
    v_head_dim: int

    def nbytes(self, context_window_size: int, scheme: Scheme) -> int:
        """Bytes of all layers' keys and values at the full context, in whole pages."""
        values = self.num_hidden_layers * self.num_key_value_heads * (self.qk_head_dim + self.v_head_dim)
        pages = -(-context_window_size // KV_PAGE_POSITIONS) + 1
        return values * pages * KV_PAGE_POSITIONS * scheme.numpy_dtype.itemsize


@dataclass(frozen=True)
class ModelFacts:
    """A model's dimensions.

    Attributes:
        backend: `relax` or `mlc`.
        architecture: MLC's name of the model type, e.g. `qwen2`.
        hidden_size: D.
        vocab_size: Rows of the embedding table.
        context_window_size: Longest context, in tokens.
        prefill_chunk_size: Longest input of one call, in tokens.
        kv_cache: What the KV cache holds.
        kv_cache_bytes: Its size at the full context.
        model_config: MLC's `model_config`.
        recurrent_state_bytes: Size of the state that layers with linear attention keep.
        linear_layers: Their number.
    """

    backend: str
    architecture: str
    hidden_size: int
    vocab_size: int
    context_window_size: int
    prefill_chunk_size: int
    kv_cache: CacheShape
    kv_cache_bytes: int
    model_config: Mapping[str, Any]
    recurrent_state_bytes: int = 0
    linear_layers: int = 0

    @property
    def num_hidden_layers(self) -> int:
        """Layers."""
        return self.kv_cache.num_hidden_layers + self.linear_layers


def relax_facts(config: ModelConfig, scheme: Scheme) -> ModelFacts:
    """The dimensions of a model of `recursivemas.compiler.models`."""
    heads = (config.num_attention_heads, config.num_key_value_heads)
    cache = CacheShape(config.num_attention_layers, *heads, config.head_dim, config.head_dim)
    absent = [name for name in _OF_SOME_FAMILIES if getattr(config, name) is None]
    return ModelFacts(
        backend="relax",
        architecture=config.model_type,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        context_window_size=config.context_window_size,
        prefill_chunk_size=config.prefill_chunk_size,
        kv_cache=cache,
        kv_cache_bytes=cache.nbytes(config.context_window_size, scheme),
        model_config={name: value for name, value in dataclasses.asdict(config).items() if name not in absent},
        recurrent_state_bytes=config.recurrent_state_bytes,
        linear_layers=config.num_linear_layers,
    )
