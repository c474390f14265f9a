"""Short names for writing kernels: buffers, loads of four values at once, conditions.

A kernel is a Python function that emits statements while it runs, so a Python loop is an unrolled loop of the kernel.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

LANES = 4
"""Values that one load of `load4` reads; see `vector_storage`."""

Index: TypeAlias = "int | tirx.Expr"


def build(define: Callable[[], None]) -> tirx.PrimFunc:
    """Runs `define`, which declares arguments and emits statements, and returns the kernel."""
    with IRBuilder() as builder, T.prim_func(is_private=True, s_tir=True):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        define()
    kernel = builder.get()
    # Relax looks for reshapes among kernels, and expects a block to look into.
    root = SBlock([], [], [], "root", kernel.body)
    return kernel.with_body(SBlockRealize([], True, root))


def argument(name: str, shape: Sequence[Index], dtype: str, *, offset: bool = False) -> tirx.Buffer:
    """The next argument of the kernel.

    Args:
        name: Shows in the shader.
        shape: Of the tensor; a variable takes its value from the tensor that is passed.
        dtype: Of the tensor.
        offset: Whether the tensor may be a part of a larger buffer.
    """
    shape = [tirx.IntImm("int64", each) if isinstance(each, int) else each for each in shape]
    if not offset:
        return T.arg(name, T.buffer(shape, dtype))
    handle = T.arg(name, T.handle())
    return T.match_buffer(handle, shape, dtype, elem_offset=tirx.Var(f"{name}_offset", "int32"))


def size(name: str) -> tirx.Var:
    """A dimension that is only known when the kernel is called. Relax wants int64; later passes make it int32."""
    return tirx.Var(name, "int64")


@contextmanager
def launch(groups: Sequence[Index], threads: int) -> Iterator[tuple[tirx.Var, ...]]:
    """A dispatch of at most two dimensions of workgroups; gives the workgroup's numbers and the thread's.

    TVM may run a workgroup too many along x, so a kernel must not store where `groups` does not reach.
    """
    with ExitStack() as stack:
        blocks = [stack.enter_context(T.launch_thread(f"blockIdx.{'xy'[axis]}", n)) for axis, n in enumerate(groups)]
        yield *blocks, stack.enter_context(T.launch_thread("threadIdx.x", threads))


@contextmanager
def when(condition: tirx.Expr | bool) -> Iterator[None]:
    """Statements that run only if the condition holds; a Python `True` needs no test."""
    if condition is True:
        yield
        return
    with T.If(condition), T.Then():
        yield


def local(count: int, dtype: str = "float32") -> tirx.Buffer:
    """Values that a thread keeps in registers."""
    return T.alloc_buffer((count,), dtype, scope="local")


def shared(shape: Sequence[int], dtype: str) -> tirx.Buffer:
    """Workgroup memory."""
    return T.alloc_buffer(tuple(shape), dtype, scope="shared")


def barrier() -> None:
    """All threads of the workgroup see what the others stored into workgroup memory."""
    T.evaluate(tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared"))


def store(buffer: tirx.Buffer, value: tirx.Expr, *index: Index) -> None:
    """buffer[index] = value."""
    T.buffer_store(buffer, value, list(index))


def four(first: Index) -> tirx.Expr:
    """The index of four neighbours; `first` must be a multiple of four."""
    return tirx.Ramp(tirx.convert(first), 1, LANES)


def vector(buffer: tirx.Buffer, *index: Index) -> tirx.Expr:
    """Four neighbours as float32; the last index must be a multiple of four."""
    return buffer[(*index[:-1], four(index[-1]))].astype(f"float32x{LANES}")


def spread(value: tirx.Expr) -> tirx.Expr:
    """A vector of one value."""
    return tirx.Broadcast(value, LANES)


def across(buffer: tirx.Buffer, first: Index) -> tirx.Expr:
    """The sum of four neighbours."""
    return buffer[first] + buffer[first + 1] + buffer[first + 2] + buffer[first + 3]


def each(count: int) -> Iterator[tirx.Var]:
    """A loop; `for i in each(n)` emits its body once. GPU compilers unroll it, and shaders stay small."""
    with T.serial(count) as i:
        yield i


def f32(value: float) -> tirx.Expr:
    """A float32 constant."""
    return tirx.const(value, "float32")


def wide(value: tirx.Expr) -> tirx.Expr:
    """A value as float32."""
    return value.astype("float32")
