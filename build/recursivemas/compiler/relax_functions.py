"""Defines Relax functions whose body is a single dataflow block, and reads what functions compute."""

from collections.abc import Callable, Iterator, Sequence

import tvm
from tvm import relax, tirx


def define(
    builder: relax.BlockBuilder,
    name: str,
    arguments: Sequence[relax.Var],
    body: Callable[[], relax.Expr],
) -> tvm.ir.GlobalVar:
    """Adds a pure function to the module that `builder` builds.

    Args:
        builder: The module's builder.
        name: Name of the function.
        arguments: Its parameters.
        body: Emits the computation inside the dataflow block and returns the result.
    """
    with builder.function(name, list(arguments)):
        with builder.dataflow():
            output = builder.emit_output(body())
        return builder.emit_func_output(output)


def bound_values(function: relax.Function | tirx.PrimFunc | relax.SeqExpr) -> Iterator[relax.Expr]:
    """What a function binds to variables, in order.

    In a normal form, an operand is a variable or a constant, so these are all its calls. TVM's `post_order_visit` calls
    Python for every operand, which takes seconds for a model.
    """
    body = function.body if isinstance(function, relax.Function) else function
    if not isinstance(body, relax.SeqExpr):
        return
    for block in body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.If):
                yield from bound_values(value.true_branch)
                yield from bound_values(value.false_branch)
            yield value
