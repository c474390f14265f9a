"""Puts shape functions in a fixed order, so that compiling a model twice gives the same bytes.

Source: TVM's `VMShapeLower`. It walks a hash table whose order depends on memory addresses, so the stores of a shape
function come in a random order, and two equal functions may or may not be merged. The stores of one function are
independent (each reads dimensions that earlier functions found), so they can be sorted; then equal functions are
merged.
"""

from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx

from recursivemas.compiler.relax_functions import bound_values

_PREFIX = "shape_func"


@tvm.transform.module_pass(opt_level=0, name="CanonicalShapeFunctions")
class CanonicalShapeFunctions:
    """Sorts the stores of every shape function, merges equal functions, and names them in the order of their calls."""

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs on a module right after `VMShapeLower`."""
        found = {
            var: _sorted(function)
            for var, function in mod.functions_items()
            if isinstance(function, tirx.PrimFunc) and var.name_hint.startswith(_PREFIX)
        }
        # Reuses the existing global variables, which already have types.
        names = sorted(found, key=lambda var: (len(var.name_hint), var.name_hint))
        renamed: dict[tvm.ir.GlobalVar, tvm.ir.GlobalVar] = {}
        kept: list[tuple[tvm.ir.GlobalVar, tirx.PrimFunc]] = []
        for old in _in_order_of_calls(mod, found):
            same = next((var for var, function in kept if tvm_ffi.structural_equal(function, found[old])), None)
            if same is None:
                same = names[len(kept)]
                kept.append((same, found[old]))
            renamed[old] = same
        changed = {old: new for old, new in renamed.items() if not old.same_as(new)}
        result = mod.clone()
        for old in found:
            del result[old]
        for var, function in kept:
            result[var] = function
        for var, function in mod.functions_items():
            if isinstance(function, relax.Function):
                result[var] = _Renamed(changed).visit_expr(function) if changed else function
        return result


def _sorted(function: tirx.PrimFunc) -> tirx.PrimFunc:
    body = function.body
    if not isinstance(body, tirx.SeqStmt):
        return function
    stores = sorted(body.seq, key=lambda store: int(store.indices[0]))
    return function.with_body(tirx.SeqStmt(stores))


def _in_order_of_calls(mod: tvm.IRModule, among: Any) -> list[tvm.ir.GlobalVar]:
    ordered: dict[tvm.ir.GlobalVar, None] = {}

    for _, function in sorted(mod.functions_items(), key=lambda item: item[0].name_hint):
        for value in bound_values(function):
            if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar) and value.op in among:
                ordered[value.op] = None
    return list(ordered)


@relax.expr_functor.mutator
class _Renamed(relax.PyExprMutator):  # type: ignore[misc]
    """Replaces the functions that are called."""

    def __init__(self, names: dict[tvm.ir.GlobalVar, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self._names = names

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replaces the called function."""
        if isinstance(call.op, tvm.ir.GlobalVar) and call.op in self._names:
            return relax.Call(self._names[call.op], call.args, call.attrs, call.ty_args, call.span)
        return super().visit_call_(call)
