"""Defines Relax functions whose body is a single dataflow block."""

from collections.abc import Callable, Sequence

import tvm
from tvm import relax


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
