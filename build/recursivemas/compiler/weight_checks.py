"""Weights are checked once: by `embed`, which a page calls before any other function that takes them.

TVM's `VMShapeLower` lets every function check the dtype and shape of every tensor that it is given. A model has
hundreds of weights, so these checks were most of what the page's CPU did in a latent step, and most of a library's
bytecode.
"""

from typing import Any

import tvm
from tvm import relax

_MATCH_SHAPE = "vm.builtin.match_shape"
_CHECKS = ("vm.builtin.check_tuple_info", "vm.builtin.check_tensor_info", _MATCH_SHAPE)
# The code for "this dimension equals the number that follows" (TVM's MatchShapeCode).
_EQUALS = 0
_WEIGHTS = "packed_params"
_CHECKING = "embed"


@tvm.transform.module_pass(opt_level=0, name="WeightsCheckedOnce")
class WeightsCheckedOnce:
    """Removes the checks of weights from every function but `embed`, whose messages it shortens."""

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs on a module right after `VMShapeLower`."""
        result = mod.clone()
        for var, function in mod.functions_items():
            if isinstance(function, relax.Function) and any(map(_is_weights, function.params)):
                result[var] = _edited(function, checking=var.name_hint == _CHECKING)
        return result


def _is_weights(param: relax.Var) -> bool:
    """Whether a parameter is the tuple of weights or, in a function that takes them one by one, a weight."""
    return str(param.name).startswith(_WEIGHTS)


def _edited(function: relax.Function, checking: bool) -> relax.Function:
    packed = {_key(param) for param in function.params if _is_weights(param)}
    weights = set(packed)
    blocks: list[list[relax.Binding]] = []
    used = {_key(function.body.body)}
    for block in function.body.blocks:
        kept = []
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.TupleGetItem):
                if _key(value.tuple_value) in packed:
                    weights.add(_key(binding.var))
            elif isinstance(value, relax.Call):
                operands = list(value.args)
                if operands and _key(operands[0]) in weights and _is_check(value):
                    if not checking:
                        continue
                    binding = relax.VarBinding(binding.var, _with_short_message(value), binding.span)
                for operand in operands:
                    if isinstance(operand, relax.Var):
                        used.add(_key(operand))
                    else:
                        _add_parts(operand, used)
            else:
                _add_parts(value, used)
            kept.append(binding)
        blocks.append(kept)
    unneeded = weights - used
    body = relax.SeqExpr(
        [relax.BindingBlock([each for each in kept if _key(each.var) not in unneeded]) for kept in blocks],
        function.body.body,
    )
    return relax.Function(function.params, body, function.ret_ty, function.is_pure, function.attrs, function.span)


def _add_parts(expression: relax.Expr, used: set[int]) -> None:
    relax.analysis.post_order_visit(expression, lambda each: used.add(_key(each)))


def _key(expression: relax.Expr) -> int:
    """Which object it is; TVM compares expressions with ``==`` by building another."""
    return hash(expression)


def _is_check(call: relax.Call) -> bool:
    """Whether a call only checks; `match_shape` may also keep a size that other code needs."""
    if not isinstance(call.op, relax.ExternFunc) or str(call.op.global_symbol) not in _CHECKS:
        return False
    if str(call.op.global_symbol) != _MATCH_SHAPE:
        return True
    _value, _heap, dimensions, *codes = call.args
    return all(int(code) == _EQUALS for code in codes[: 2 * int(dimensions) : 2])


def _with_short_message(call: relax.Call) -> relax.Call:
    """Leaves out of a message what the types of all weights are."""
    arguments = [
        tvm.ir.StringImm(each.value.partition(", annotation=")[0] + ") ")
        if isinstance(each, tvm.ir.StringImm)
        else each
        for each in call.args
    ]
    return relax.Call(call.op, arguments, call.attrs, call.ty_args, call.span, call.ty)
