"""The index of the largest value, the first of equal ones, in two dispatches.

A workgroup finds the largest of `BLOCK` values: each thread looks at every so many, then 16 threads at 16 of the found
ones each, then one at what is left. The second dispatch goes through the workgroups' results.

Assumes: nothing of the number of values; with 150,000 of them the second dispatch looks at 37.
"""

from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks

THREADS = 256
BLOCK = 4096
_FEW = 16
_LEAST = -3.4e38


def blocks(vocabulary: int) -> int:
    """Workgroups of the first dispatch."""
    return -(-vocabulary // BLOCK)


@cache
def argmax_blocks(vocabulary: int) -> tirx.PrimFunc:
    """values (1, 1, V) float32 to the largest of each block, (blocks,) float32, and its index, (blocks,) int32."""

    def define() -> None:
        values = ks.argument("values", (1, 1, vocabulary), "float32")
        found = ks.argument("found", (blocks(vocabulary),), "float32")
        where = ks.argument("where", (blocks(vocabulary),), "int32")
        with ks.launch([blocks(vocabulary)], THREADS) as (block, thread):
            best, index = ks.local(1), ks.local(1, "int32")
            all_best, all_index = ks.shared((THREADS,), "float32"), ks.shared((THREADS,), "int32")
            few_best, few_index = ks.shared((_FEW,), "float32"), ks.shared((_FEW,), "int32")
            _clear(best, index)
            with T.serial(BLOCK // THREADS) as step:
                at = block * BLOCK + step * THREADS + thread
                with ks.when(at < vocabulary):
                    _take(best, index, values[0, 0, at], at)
            ks.store(all_best, best[0], thread)
            ks.store(all_index, index[0], thread)
            ks.barrier()
            with ks.when(thread < _FEW):
                _clear(best, index)
                with T.serial(THREADS // _FEW) as step:
                    at = step * _FEW + thread
                    _take(best, index, all_best[at], all_index[at])
                ks.store(few_best, best[0], thread)
                ks.store(few_index, index[0], thread)
            ks.barrier()
            with ks.when(thread == 0):
                _clear(best, index)
                with T.serial(_FEW) as at:
                    _take(best, index, few_best[at], few_index[at])
                ks.store(found, best[0], block)
                ks.store(where, index[0], block)

    return ks.build(define)


@cache
def argmax_finish(vocabulary: int) -> tirx.PrimFunc:
    """Each block's largest value and its index to the index of the largest of all, (1,) int32."""

    def define() -> None:
        found = ks.argument("found", (blocks(vocabulary),), "float32")
        where = ks.argument("where", (blocks(vocabulary),), "int32")
        output = ks.argument("index", (1,), "int32")
        with ks.launch([1], _FEW) as (_, thread), ks.when(thread == 0):
            best, index = ks.local(1), ks.local(1, "int32")
            _clear(best, index)
            with T.serial(blocks(vocabulary)) as at:
                _take(best, index, found[at], where[at])
            ks.store(output, index[0], 0)

    return ks.build(define)


def _clear(best: tirx.Buffer, index: tirx.Buffer) -> None:
    ks.store(best, ks.f32(_LEAST), 0)
    ks.store(index, tirx.const(0x7FFFFFFF, "int32"), 0)


def _take(best: tirx.Buffer, index: tirx.Buffer, value: tirx.Expr, at: tirx.Expr) -> None:
    """Keeps a value that is larger, or as large and earlier."""
    # Held, because a condition may not read workgroup memory.
    held, place = ks.local(1), ks.local(1, "int32")
    ks.store(held, value, 0)
    ks.store(place, at, 0)
    with ks.when(tirx.any(held[0] > best[0], tirx.all(held[0] == best[0], place[0] < index[0]))):
        ks.store(index, place[0], 0)
        ks.store(best, held[0], 0)
