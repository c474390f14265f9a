"""MLC-LLM's kernels take scalars after their outputs; TVM passes them before."""

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.relax.frontend.nn import Tensor, op

from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.compat.intercept import intercept
from recursivemas.mlc.tree import mlc_module

_MODULES = ("op.moe_misc",)


def tensor_ir_op(func: tirx.PrimFunc, name_hint: str, args: Any, out: Any) -> Any:
    """TVM's `nn.op.tensor_ir_op` for kernels that take scalars after their outputs."""
    given = list(args) if isinstance(args, Sequence) else [args]
    outputs = 1 if isinstance(out, Tensor) else len(out)
    return op.tensor_ir_op(scalars_first(func, given, outputs), name_hint, given, out)


def scalars_first(func: tirx.PrimFunc, args: Sequence[Any], outputs: int) -> tirx.PrimFunc:
    """Moves a kernel's trailing scalar parameters before its outputs.

    Args:
        func: Takes tensors, outputs and scalars in this order, or already tensors, scalars and outputs.
        args: The arguments of its call, without outputs.
        outputs: Number of outputs.
    """
    scalars = sum(1 for each in args if not isinstance(each, Tensor) and tvm.ir.is_prim_expr(each))
    params = list(func.params)
    if scalars == 0 or any(_is_tensor(each) for each in params[-scalars:]):
        return func
    inputs = len(params) - outputs - scalars
    ordered = [*params[:inputs], *params[-scalars:], *params[inputs : inputs + outputs]]
    return tirx.PrimFunc(ordered, func.body, func.ret_type, func.attrs)


def _is_tensor(param: Any) -> bool:
    return not isinstance(param.ty, tvm.ir.PrimType) or str(param.ty.dtype) == "handle"


def _apply() -> None:
    for name in _MODULES:
        intercept(mlc_module(name), "op", tensor_ir_op=tensor_ir_op)


BRIDGE = Bridge(
    "call-tir-order",
    "call_tir used to append scalar arguments after the outputs, and MLC-LLM's mixture-of-experts kernels "
    "are written for that; TVM 0.27 passes arguments in the order given, outputs last. The kernels' scalar "
    "parameters are moved forward.",
    _apply,
)
