"""Creating the paged KV cache, which our own kernels fill and read.

Source: TVM's `PagedAttentionKVCacheObj`. It is given no kernels of its own; `attention.py` passes ours with each call.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from tvm import relax, tirx
from tvm.relax.frontend.nn.llm.kv_cache import AttnKind, PagedKVCache, RopeMode

from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.system.errors import InputError

_NO_WINDOW = 1
_ATTENTION_KERNELS = 8


def attention_shape(config: ModelConfig, dtype: str, kind: str = "full_attention") -> AttentionShape:
    """What the kernels must know of a layer.

    Args:
        config: The model.
        dtype: Of activations and of the cache.
        kind: ``full_attention`` or ``sliding_attention``.

    Raises:
        InputError: The kernels cannot compute heads of this shape.
    """
    if config.head_dim % 4:
        raise InputError(f"the attention kernels cannot have head_dim {config.head_dim}; it must be a multiple of 4")
    sliding = config.sliding if kind == "sliding_attention" else None
    return AttentionShape(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        dtype=dtype,
        scale=(config.query_pre_attn_scalar or config.head_dim) ** -0.5,
        context=config.context_window_size,
        rotary_dim=config.rotary_dim or config.head_dim,
        table=1 if sliding else 0,
        query_stride=config.head_dim,
        window=sliding.window if sliding else None,
    )


def create_kv_cache(config: ModelConfig, dtype: str, sizes: Mapping[str, tirx.Var]) -> PagedKVCache:
    """Creates an empty cache in the function that is being exported.

    Args:
        config: The model.
        dtype: Of keys and values.
        sizes: max_batch_size, max_total_seq_len, prefill_chunk_size, page_size and support_sliding_window.
    """
    layers, heads, kv_heads = config.num_attention_layers, config.num_attention_heads, config.num_key_value_heads
    # The cache wants functions for work that nothing asks for (copying pages, trees of tokens); any will do.
    unused = relax.ExternFunc("vm.builtin.kv_state_clear")
    arguments = [
        relax.ShapeExpr([*sizes.values(), _NO_WINDOW]),
        relax.ShapeExpr([0, layers]),
        *(relax.prim_value(value) for value in (heads, kv_heads, config.head_dim, config.head_dim)),
        relax.ShapeExpr([int(AttnKind.MHA)] * layers),
        relax.prim_value(False),
        *(relax.prim_value(value) for value in (RopeMode.NORMAL, 1, config.rope_theta)),
        relax.const(_frequencies(config)),
        relax.op.zeros((), dtype),
        *(relax.prim_value(0) for _ in range(2)),
        *(relax.Tuple([]) for _ in range(_ATTENTION_KERNELS)),
        relax.Tuple([unused]),
        *(unused for _ in range(4)),
    ]
    create = "vm.builtin.paged_attention_kv_cache_create"
    return PagedKVCache(
        _expr=relax.call_pure_packed(create, *arguments, ty_args=relax.AnyType()), _name="paged_kv_cache"
    )


def _frequencies(config: ModelConfig) -> npt.NDArray[np.float32]:
    """RoPE's frequencies: a row for layers with full attention and one for those with a window, if any."""
    rows = [config.rope_frequencies(), *([config.local_rope_frequencies()] if config.sliding else [])]
    return np.stack(rows)
