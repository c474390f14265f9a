"""Which experts each token goes to, counted for a number of tokens that is not known yet."""

from functools import reduce

from tvm import te, tirx
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.patches.compat.bridge import Bridge
from recursivemas.patches.source import mlc_module


def moe_cumsum(expert_indices: Tensor, num_local_experts: int) -> Tensor:
    """Running count of tokens per expert, expert after expert.

    Args:
        expert_indices: (T, K) int32, the experts of each token.
        num_local_experts: E.

    Returns:
        (E * T,) int32; position e * T + t counts the tokens of experts before e, and of e up to t.
    """

    def mask(indices: te.Tensor) -> te.Tensor:
        chosen = int(indices.shape[1])

        def hit(token: tirx.Var, expert: tirx.Var) -> tirx.Expr:
            matches = [indices[token, k].astype("int64") == expert for k in range(chosen)]
            return tirx.Select(reduce(tirx.Or, matches), tirx.const(1, "int32"), tirx.const(0, "int32"))

        return te.compute((indices.shape[0], tirx.IntImm("int64", num_local_experts)), hit, name="expert_mask")

    tokens = expert_indices.shape[0]
    by_expert = op.permute_dims(op.tensor_expr_op(mask, "expert_mask", [expert_indices]), [1, 0])
    return op.cumsum(by_expert.reshape(tokens * num_local_experts), axis=0, exclusive=False, dtype="int32")


def _apply() -> None:
    mlc_module("op.moe_misc").moe_cumsum = moe_cumsum


BRIDGE = Bridge(
    "expert-mask",
    "moe_cumsum computes its mask with the number of tokens of the calling function, while TVM gives the "
    "tensor expression a number of its own; operator fusion in TVM 0.27 refuses the two. The mask takes the "
    "size of its input.",
    _apply,
)
