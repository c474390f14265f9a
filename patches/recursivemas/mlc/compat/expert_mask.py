"""Counts the tokens of each expert for a symbolic number of tokens, without TVM's scan for GPUs."""

from functools import reduce

from tvm import te, tirx
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.tree import mlc_module


def moe_cumsum(expert_indices: Tensor, num_local_experts: int) -> Tensor:
    """Computes the running count of tokens, expert after expert.

    Args:
        expert_indices: (T, K) int32, the experts of each token.
        num_local_experts: E.

    Returns:
        (E * T,) int32; position e * T + t counts the tokens of experts before e, and of e up to t.
    """

    experts = tirx.IntImm("int64", num_local_experts)

    def counts(indices: te.Tensor) -> te.Tensor:
        tokens, chosen = indices.shape[0], int(indices.shape[1])

        def chooses(token: tirx.Var, expert: tirx.Var) -> tirx.Expr:
            return reduce(tirx.Or, [indices[token, k].astype("int64") == expert for k in range(chosen)])

        def one(condition: tirx.Expr) -> tirx.Expr:
            return tirx.Select(condition, tirx.const(1, "int32"), tirx.const(0, "int32"))

        mask = te.compute((experts, tokens), lambda e, t: one(chooses(t, e)), name="expert_mask")
        every, before, earlier = (te.reduce_axis((0, size)) for size in (tokens, experts, tokens))
        total = te.compute((experts,), lambda e: te.sum(mask[e, every], every), name="expert_total")
        start = te.compute((experts,), lambda e: te.sum(one(before < e) * total[before], before), name="expert_start")
        within = te.compute(
            (experts, tokens), lambda e, t: te.sum(one(earlier <= t) * mask[e, earlier], earlier), name="expert_count"
        )
        return te.compute((experts, tokens), lambda e, t: start[e] + within[e, t], name="expert_cumsum")

    counted = op.tensor_expr_op(counts, "expert_cumsum", [expert_indices])
    return counted.reshape(expert_indices.shape[0] * num_local_experts)


def _apply() -> None:
    mlc_module("op.moe_misc").moe_cumsum = moe_cumsum


BRIDGE = Bridge(
    "expert-mask",
    "moe_cumsum computes its mask with the calling function's symbolic number of tokens, but TVM gives the tensor "
    "expression one of its own, and operator fusion in TVM 0.27 refuses that. It also counts with TVM's scan for GPUs, "
    "whose results on WebGPU are wrong. Here the mask has the size of its input, and sums do the counting.",
    _apply,
)
