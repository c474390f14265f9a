"""What our kernels compute, in operators that TVM also compiles for the CPU.

The kernels need a GPU's threads; with these in their places, a model's definition can be run without one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import tvm
from tvm import relax, te, tirx
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode, TIRPagedKVCache

from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.links import gelu_tanh
from recursivemas.compiler.models.attention_kernels import sine_and_cosine
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.layers import Embedding, Linear, ZeroCentredNorm

_MODELS = "recursivemas.compiler.models"


@contextmanager
def plain_kernels(config: ModelConfig) -> Iterator[None]:
    """Models that are exported meanwhile have no kernels of ours. Norms, RoPE and activations are operators."""

    def attend(
        shape: AttentionShape, qkv: Tensor, kv_cache: PagedKVCache, layer_id: int, norms: Sequence[Tensor] = ()
    ) -> Tensor:
        return _attend(config, shape, qkv, kv_cache, layer_id, norms)

    with ExitStack() as stack:
        for kind in (Linear, Embedding):
            stack.enter_context(patch.object(kind, "product", _product))
        stack.enter_context(patch(f"{_MODELS}.llama.attend", attend))
        stack.enter_context(patch(f"{_MODELS}.llama.create_kv_cache", _create_kv_cache))
        yield


def _product(
    self: Any,
    x: Tensor,
    *,
    norm: Any = None,
    bias: Tensor | None = None,
    gate: str | None = None,
    residual: Tensor | None = None,
    out_dtype: str = "float32",
) -> Tensor:
    y = op.matmul(x if norm is None else norm(x), op.permute_dims(self.table()), out_dtype="float32")
    y = y if bias is None else y + bias
    if gate:
        first, second = op.split(y, 2, axis=-1)
        first = op.silu(first) if gate == "silu" else op.tensor_expr_op(gelu_tanh, "gelu_tanh", [first])
        y = first * second
    return (y if residual is None else y + residual).astype(out_dtype)


def _attend(
    config: ModelConfig,
    shape: AttentionShape,
    qkv: Tensor,
    kv_cache: PagedKVCache,
    layer_id: int,
    norms: Sequence[Tensor],
) -> Tensor:
    length, heads = qkv.shape[1], shape.heads
    assert shape.query_stride == shape.head_dim == shape.rotary_dim
    qkv = qkv.reshape(1, length, heads + 2 * shape.kv_heads, shape.head_dim)
    *turning, value = op.split(qkv, [heads, heads + shape.kv_heads], axis=2)
    if norms:
        turning = [_normed(shape, each, weight) for each, weight in zip(turning, norms, strict=True)]
    table = config.local_rope_frequencies() if shape.table else config.rope_frequencies()
    positions, frequencies = kv_cache.get_query_positions(length), Tensor.from_const(table)
    turned = [op.tensor_expr_op(_turned, "turned", [each, positions, frequencies]) for each in turning]
    attended = kv_cache.attention_with_fused_qkv(layer_id, op.concat([*turned, value], dim=2), heads, shape.scale)
    return attended.reshape(1, length, heads * shape.head_dim)


def _normed(shape: AttentionShape, x: Tensor, weight: Tensor) -> Tensor:
    assert shape.eps is not None
    norm = ZeroCentredNorm(shape.head_dim, shape.eps)
    norm.zero_centred = shape.zero_centred
    norm.weight = weight
    return norm(x)


def _turned(heads: te.Tensor, positions: te.Tensor, frequencies: te.Tensor) -> te.Tensor:
    width = heads.shape[3]
    half = width // 2

    def value(b: tirx.Var, t: tirx.Var, h: tirx.Var, d: tirx.Var) -> tirx.Expr:
        sine, cosine = sine_and_cosine(positions[t].astype("float32") * frequencies[d % half])
        other = heads[b, t, h, (d + half) % width]
        return heads[b, t, h, d] * cosine + tirx.Select(d < half, -other, other) * sine

    return te.compute(heads.shape, value, name="turned")


def _create_kv_cache(config: ModelConfig, dtype: str, sizes: Mapping[str, tirx.Var]) -> PagedKVCache:
    kinds: Any = "mha"
    if config.sliding is not None and config.layer_types is not None:
        kinds = ["mha_sliding" if kind == "sliding_attention" else "mha" for kind in config.layer_types]
    return TIRPagedKVCache(
        attn_kind=kinds,
        layer_sliding_window_size=config.sliding.window if config.sliding else 1,
        **sizes,
        layer_partition=relax.ShapeExpr([0, config.num_attention_layers]),
        num_hidden_layers=config.num_attention_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        qk_head_dim=config.head_dim,
        v_head_dim=config.head_dim,
        mla_original_qk_head_dim=0,
        mla_original_v_head_dim=0,
        rope_mode=RopeMode.NONE,
        rope_scale=1,
        rope_theta=config.rope_theta,
        rope_scaling={},
        rope_ext_factors=relax.prim_value(0),
        rotary_dim=config.head_dim,
        enable_disaggregation=False,
        dtype=dtype,
        target=tvm.target.Target.current(allow_none=False),
    )
