"""Initial values for choosing experts: MLC-LLM's kernel writes outside its array, which WebGPU refuses."""

from typing import Any

from tvm.script import tirx as T  # noqa: N812

from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.tree import mlc_module


def init_local_top_k(k_val: int, dtype: str, local_top_k: Any, local_top_k_index: Any) -> None:
    """Emits the initial values: the smallest score and, beside it, the expert of the same number.

    Args:
        k_val: Experts per token, K.
        dtype: Of the scores.
        local_top_k: (K,) scores, the best first.
        local_top_k_index: (K,) int32, the experts with these scores.
    """
    for place in range(k_val):
        T.buffer_store(local_top_k, T.min_value(dtype), indices=[place])
    for place in range(k_val):
        T.buffer_store(local_top_k_index, place, indices=[place])


def _apply() -> None:
    module = mlc_module("op.moe_misc")
    if hasattr(module, "_gating_topk_init_local_top_k"):
        module._gating_topk_init_local_top_k = init_local_top_k


BRIDGE = Bridge(
    "topk-init",
    "The kernels that choose a token's experts set local_top_k_index[-1] although they mean each of its elements; "
    "other compilers write outside the array, and WGSL refuses the shader. Each element is set.",
    _apply,
)
