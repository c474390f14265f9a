"""MLC-LLM's kernels use 1024 threads; WebGPU promises 256."""

import re
from typing import Any

import tvm
from tvm import tirx

from recursivemas.mlc.compat import call_tir_order
from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.compat.intercept import intercept
from recursivemas.mlc.tree import mlc_module

_THREADS = re.compile(r"T\.thread_binding\((\d+), thread=\"threadIdx")

_MODULES = ("op.moe_misc",)


def tensor_ir_op(func: tirx.PrimFunc, name_hint: str, args: Any, out: Any) -> Any:
    """TVM's `nn.op.tensor_ir_op` for kernels with more threads than the current target has."""
    target = tvm.target.Target.current(allow_none=True)
    limit = None if target is None else target.attrs.get("max_num_threads")
    fitted = func if limit is None else with_threads(func, int(limit))
    return call_tir_order.tensor_ir_op(fitted, name_hint, args, out)


def with_threads(func: tirx.PrimFunc, limit: int) -> tirx.PrimFunc:
    """Gives smaller blocks to a kernel that splits its work as block * threads + thread.

    Such a kernel contains its number of threads wherever it splits the work, so that constant is replaced everywhere.
    Python can neither rewrite nor serialise a kernel's statements in TVM 0.27, so this edits TVMScript.

    Args:
        func: A scheduled kernel.
        limit: Most threads of a block.

    Returns:
        `func` itself if it fits.
    """
    text = func.script()
    extents = {int(extent) for extent in _THREADS.findall(text)}
    if all(extent <= limit for extent in extents):
        return func
    assert len(extents) == 1, f"threads in several dimensions: {sorted(extents)}"
    threads = extents.pop()
    for number, smaller in ((threads, limit), (threads - 1, limit - 1)):  # the second one rounds a division up
        text = re.sub(rf"\b{number}\b", str(smaller), text)
    return tvm.script.from_source(text)


def _apply() -> None:
    for name in _MODULES:
        intercept(mlc_module(name), "op", tensor_ir_op=tensor_ir_op)


BRIDGE = Bridge(
    "thread-limit",
    "The routing kernels of mixture-of-experts models run 1024 threads a block on any target, but WebGPU promises 256 "
    "invocations per workgroup. They get as many as the target has.",
    _apply,
)
