"""Defines Relax functions whose body is a single dataflow block."""

from collections.abc import Callable, Sequence

import tvm
from tvm import relax


def define(
    builder: relax.BlockBuilder,
    name: str,
    arguments: Sequence[relax.Var],
    body: Callable[[], relax.Expr],
    *,
    private: bool = False,
) -> tvm.ir.GlobalVar:
    """Adds a pure function to the module that `builder` builds.

    Args:
        builder: Of the module.
        name: The function's.
        arguments: Its parameters.
        body: Emits the computation and returns the result; called inside the dataflow block.
        private: Whether only functions of the same module may call it.
    """
    with builder.function(name, list(arguments), private=private):
        with builder.dataflow():
            output = builder.emit_output(body())
        return builder.emit_func_output(output)
