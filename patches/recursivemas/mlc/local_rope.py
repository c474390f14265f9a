"""A second RoPE base for some layers; the KV cache has only one.

The cache rotates queries and keys by position times frequency. Rotations add up: rotating them beforehand by position
times the difference of the two frequencies gives the layer the other base, also for the keys in the cache.
"""

from typing import Any

import numpy as np
from tvm import te, tirx
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.mlc.compat import rope
from recursivemas.mlc.corrections import LocalRope


class LocalRopeCache:
    """The paged KV cache as layers see it, with another RoPE base for some of them."""

    def __init__(self, paged_kv_cache: Any, model: Any, local: LocalRope) -> None:
        """Wraps a cache while a function is traced.

        Args:
            paged_kv_cache: MLC-LLM's cache object.
            model: The model; its `rope_theta` is the base that the cache applies.
            local: The other base and its layers.
        """
        self._cache = paged_kv_cache
        self._theta = float(_attribute(model, "rope_theta"))
        self._local = local

    def attention_with_fused_qkv(self, layer_id: int, qkv: Tensor, num_qo_heads: int, sm_scale: float) -> Tensor:
        """Calls the cache's own method, after rotating queries and keys of the local layers.

        Args:
            layer_id: The layer.
            qkv: (1, T, heads, head_dim), queries, keys and values one after the other.
            num_qo_heads: Query heads.
            sm_scale: Multiplies scores.
        """
        if layer_id in self._local.layers:
            qkv = self._turned(qkv, num_qo_heads)
        return self._cache.attention_with_fused_qkv(layer_id, qkv, num_qo_heads, sm_scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def _turned(self, qkv: Tensor, num_qo_heads: int) -> Tensor:
        heads, head_dim = int(qkv.shape[2]), int(qkv.shape[3])
        keys_end = num_qo_heads + (heads - num_qo_heads) // 2
        exponent = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
        difference = (self._local.theta**-exponent - self._theta**-exponent).astype(np.float32)
        frequencies = Tensor.from_const(difference)
        positions = self._cache.get_query_positions(qkv.shape[0] * qkv.shape[1])
        half = head_dim // 2

        def turn(x: te.Tensor, where: te.Tensor, speed: te.Tensor) -> te.Tensor:
            def value(b: tirx.Var, t: tirx.Var, h: tirx.Var, d: tirx.Var) -> tirx.Expr:
                sine, cosine = rope.turn(where[t], speed[d % half])
                other = tirx.if_then_else(
                    d < half, -x[b, t, h, (d + half) % head_dim], x[b, t, h, (d - half) % head_dim]
                )
                turned = x[b, t, h, d].astype("float32") * cosine + other.astype("float32") * sine
                return tirx.if_then_else(h < keys_end, turned.astype(x.dtype), x[b, t, h, d])

            return te.compute(x.shape, value, name="local_rope")

        return op.tensor_expr_op(turn, "local_rope", [qkv, positions, frequencies])


def _attribute(model: Any, name: str) -> Any:
    """Reads an attribute of the model or of the language model inside it."""
    for module in (model, *(value for value in vars(model).values() if hasattr(value, name))):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"{type(model).__name__} has no {name}")
