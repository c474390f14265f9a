"""Attention over the KV cache with our own kernels.

`runtime/headers/src/runtime/vm/paged_kv_cache.cc` defines the two functions of the runtime that are called here; they
know the cache's pages and pass them to the kernels.
"""

from collections.abc import Sequence

from tvm import relax
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.kernels.append import append_kernel
from recursivemas.compiler.kernels.attention_shape import AttentionShape
from recursivemas.compiler.kernels.decode_attention import attend_kernel, merge_kernel, parts_shape
from recursivemas.compiler.kernels.prefill_attention import prefill_kernel


def attend(
    shape: AttentionShape, qkv: Tensor, kv_cache: PagedKVCache, layer_id: int, norms: Sequence[Tensor] = ()
) -> Tensor:
    """Normalises heads, applies RoPE, appends keys and values, and attends.

    Args:
        shape: The layer's.
        qkv: (1, T, shape.columns), queries, keys and values.
        kv_cache: Its layer grows by T positions.
        layer_id: Counted among the layers with a KV cache.
        norms: Weights (head_dim,) of the norms of queries and keys, where the shape has an epsilon.

    Returns:
        (1, T, heads * head_dim).
    """
    builder = relax.BlockBuilder.current()
    length = qkv.shape[1]
    flat = qkv.reshape(length, shape.columns)
    weights = builder.emit(relax.Tuple([norm._expr for norm in norms]))
    append = builder.add_func(append_kernel(shape), "append")
    output = relax.TensorType((length, shape.heads, shape.head_dim), shape.dtype)
    arguments = [kv_cache._expr, relax.prim_value(layer_id), append]
    if length == 1:
        kernels = [
            builder.add_func(attend_kernel(shape), "decode_attention"),
            builder.add_func(merge_kernel(shape), "decode_attention_merge"),
        ]
        arguments += [*kernels, relax.prim_value(shape.context), flat._expr, weights]
        types = [output, relax.TensorType(parts_shape(shape), "float32")]
        both = builder.emit(relax.call_dps_packed("recursivemas.attend_one", arguments, types))
        attended = builder.emit(relax.TupleGetItem(both, 0))
    else:
        arguments += [builder.add_func(prefill_kernel(shape), "prefill_attention"), flat._expr, weights]
        attended = builder.emit(relax.call_dps_packed("recursivemas.attend_many", arguments, output))
    return Tensor(_expr=attended).reshape(1, length, shape.heads * shape.head_dim)
