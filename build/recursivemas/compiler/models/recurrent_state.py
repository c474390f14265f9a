"""The recurrent state of layers with linear attention: float32 tensors that the page holds beside the KV cache.

The model's functions take it as a tuple after the KV cache and update it in place, so a step copies nothing.
"""

from collections.abc import Callable, Sequence

import tvm
from tvm import relax, tirx
from tvm.script import tirx as T  # noqa: N812

STATE = "recurrent_state"
"""Name of the argument."""

_THREADS = 256


def add_state_functions(mod: tvm.IRModule, shapes: Sequence[Sequence[int]]) -> tvm.IRModule:
    """Adds ``create_recurrent_state``, ``clear_recurrent_state`` and ``copy_recurrent_state`` to a module.

    Args:
        mod: The module.
        shapes: Of the state's tensors; the module is returned as it is if there are none.
    """
    if not shapes:
        return mod
    builder = relax.BlockBuilder(mod)
    fields = [relax.TensorType(shape, "float32") for shape in shapes]
    cleared, target, source = (relax.Var(name, relax.TupleType(fields)) for name in (STATE, STATE, "source_state"))

    def tensors_of(state: relax.Var) -> list[relax.Expr]:
        return [builder.emit(relax.TupleGetItem(state, index)) for index in range(len(shapes))]

    def in_place(kernel: Callable[[int, int], tirx.PrimFunc], name: str, *states: list[relax.Expr]) -> relax.Expr:
        """Runs a kernel on each tensor of the states; the last state's is written."""
        written = []
        for tensors, shape, kind in zip(zip(*states, strict=True), shapes, fields, strict=True):
            function = builder.add_func(kernel(*shape), name)
            call = relax.op.call_tir_inplace(function, relax.Tuple(tensors), len(tensors) - 1, kind)
            written.append(builder.emit(call))
        return relax.Tuple(written)

    with builder.function("create_recurrent_state", []):
        # Allocated, because an operator without arguments would become a constant, which all states would share.
        kinds = [(relax.ShapeExpr(shape), "float32", 0) for shape in shapes]
        tensors = [builder.emit(relax.op.builtin.alloc_tensor(*kind)) for kind in kinds]
        builder.emit_func_output(builder.emit(in_place(_zero, "recurrent_state_zero", tensors)))
    with builder.function("clear_recurrent_state", [cleared]):
        builder.emit_func_output(builder.emit(in_place(_zero, "recurrent_state_zero", tensors_of(cleared))))
    with builder.function("copy_recurrent_state", [source, target]):
        builder.emit_func_output(
            builder.emit(in_place(copy_kernel, "recurrent_state_copy", tensors_of(source), tensors_of(target)))
        )
    return builder.finalize()


def _zero(rows: int, columns: int) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def zero(var_state: T.handle) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        state = T.match_buffer(var_state, (rows, columns), "float32")
        for group in T.thread_binding((rows * columns + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("zero"):
                    T.where(group * _THREADS + thread < rows * columns)
                    row = T.axis.spatial(rows, (group * _THREADS + thread) // columns)
                    column = T.axis.spatial(columns, (group * _THREADS + thread) % columns)
                    state[row, column] = T.float32(0)

    return zero.without_attr("global_symbol")


def copy_kernel(rows: int, columns: int) -> tirx.PrimFunc:
    """Copies a (rows, columns) float32 tensor into another one."""

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def copy(var_source: T.handle, var_state: T.handle) -> None:
        T.func_attr({"op_pattern": 8, "tirx.noalias": True, "tirx.is_scheduled": True})
        source = T.match_buffer(var_source, (rows, columns), "float32")
        state = T.match_buffer(var_state, (rows, columns), "float32")
        for group in T.thread_binding((rows * columns + _THREADS - 1) // _THREADS, "blockIdx.x"):
            for thread in T.thread_binding(_THREADS, "threadIdx.x"):
                with T.sblock("copy"):
                    T.where(group * _THREADS + thread < rows * columns)
                    row = T.axis.spatial(rows, (group * _THREADS + thread) // columns)
                    column = T.axis.spatial(columns, (group * _THREADS + thread) % columns)
                    state[row, column] = source[row, column]

    return copy.without_attr("global_symbol")
