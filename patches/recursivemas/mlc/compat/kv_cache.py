"""`PagedKVCache.create_generic`: MLC-LLM leaves a placeholder for a KV cache; this builds the cache at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode, TIRPagedKVCache

from recursivemas.compiler.model_facts import CacheShape
from recursivemas.mlc.compat import rope
from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.tree import mlc_module


@dataclass
class CacheBuild:
    """How `create_generic` builds a cache, and what the model asked for.

    Attributes:
        interleaved_rope: Whether RoPE rotates neighbouring pairs although the model asked for halves.
        placeholder: Emit an empty value instead of a cache. MLC-LLM's loaders export a model only to list its
            parameters, and building a cache's kernels takes seconds.
        made: What the cache holds, once a model has asked for one.
    """

    interleaved_rope: bool = False
    placeholder: bool = False
    made: CacheShape | None = None


_current: ContextVar[CacheBuild] = ContextVar("cache_build")


@contextmanager
def building(build: CacheBuild) -> Iterator[None]:
    """Inside, `create_generic` follows `build` and records the cache there."""
    token = _current.set(build)
    try:
        yield
    finally:
        _current.reset(token)


def create_generic(
    *,
    num_hidden_layers: int,
    num_attention_heads: int,
    num_key_value_heads: int,
    qk_head_dim: int,
    v_head_dim: int,
    rope_mode: RopeMode,
    rope_scale: float,
    rope_theta: float,
    dtype: str,
    attn_kind: str | list[str] = "mha",
    rotary_dim: int | None = None,
    rope_scaling: dict[str, Any] | None = None,
    rope_ext_factors: list[float] | None = None,
    layer_partition: list[int] | None = None,
    mla_original_qk_head_dim: int = 0,
    mla_original_v_head_dim: int = 0,
    enable_disaggregation: bool = False,
    **rest: Any,
) -> PagedKVCache:
    """Builds the TIR cache for the current target from the arguments that MLC-LLM's models give.

    Args:
        num_hidden_layers: Layers with a cache.
        num_attention_heads: Query heads.
        num_key_value_heads: Key (or value) heads.
        qk_head_dim: Width of a key head.
        v_head_dim: Width of a value head.
        rope_mode: Whether the cache applies RoPE.
        rope_scale: Factor on positions.
        rope_theta: RoPE's base.
        dtype: Of keys and values.
        attn_kind: `mha`, `mla`, or `mha` and `mha_sliding` layer by layer. TVM applies a layer's window to the cached
            positions but not to the appended ones, so the context is kept within the window (`longest_context`), where
            every layer sees everything.
        rotary_dim: Width of the part of a head that RoPE rotates; None for the whole head.
        rope_scaling: As in `config.json`, or None.
        rope_ext_factors: Long factors followed by short ones, for `longrope`.
        layer_partition: First layer of every pipeline stage; None for one stage.
        mla_original_qk_head_dim: For latent attention (MLA).
        mla_original_v_head_dim: For latent attention (MLA).
        enable_disaggregation: Passed on to TVM.
        rest: Arguments whose name and meaning TVM kept.
    """
    build = _current.get(CacheBuild())
    build.made = CacheShape(num_hidden_layers, num_attention_heads, num_key_value_heads, qk_head_dim, v_head_dim)
    if build.placeholder:
        nothing = relax.call_pure_packed("vm.builtin.null_value", ty_args=relax.AnyType())
        return PagedKVCache(_expr=nothing, _name="paged_kv_cache")
    turned = qk_head_dim if rotary_dim is None else rotary_dim
    table = None
    if rope_mode == RopeMode.NORMAL and rope_ext_factors is None and qk_head_dim == v_head_dim:
        table = rope.table(rope_theta, rope_scale, turned, rope_scaling, interleaved=build.interleaved_rope)
    cache = TIRPagedKVCache(
        target=tvm.target.Target.current(allow_none=False),
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=num_key_value_heads,
        qk_head_dim=qk_head_dim,
        v_head_dim=v_head_dim,
        rope_mode=rope_mode,
        rope_scale=rope_scale,
        rope_theta=rope_theta,
        rotary_dim=turned,
        rope_scaling=(rope_scaling or {}) if table is None else {},
        rope_ext_factors=_extension(rope_ext_factors if table is None else table.frequencies),
        layer_partition=relax.ShapeExpr(layer_partition or [0, num_hidden_layers]),
        mla_original_qk_head_dim=mla_original_qk_head_dim,
        mla_original_v_head_dim=mla_original_v_head_dim,
        enable_disaggregation=enable_disaggregation,
        dtype=dtype,
        attn_kind=attn_kind if isinstance(attn_kind, str) else "mha",
        **rest,
    )
    if table is not None:
        rope.install(relax.BlockBuilder.current(), table, num_attention_heads, num_key_value_heads, qk_head_dim, dtype)
    return cache


def _extension(values: Any) -> relax.Expr:
    """RoPE's table for the kernel; an integer if there is none, because Relax has no optional values."""
    return relax.prim_value(0) if values is None else relax.const(np.asarray(values, np.float32))


def _apply() -> None:
    mlc_module("nn.kv_cache").PagedKVCache.create_generic = staticmethod(create_generic)


BRIDGE = Bridge(
    "kv-cache",
    "PagedKVCache.create_generic packs its arguments into relax.StringImm and relax.DataTypeImm for a pass "
    "of MLC-LLM's own pipeline; DataTypeImm is gone from TVM 0.27 and that pipeline does not run on it. It "
    "now builds TVM's TIR cache directly.",
    _apply,
)
