"""One pass of a stable merge sort from the largest to the smallest: 16 sorted runs become one.

Every element finds its place on its own: its rank in its run plus, by bisection, how many elements of each other run
come before it. 150,000 values take 5 passes. There are no barriers, so it is also fast on adapters that run on the CPU.

Assumes: nothing of the number of values; none of them is NaN, for which no place is smaller or larger.
"""

from collections.abc import Callable
from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks

WAYS = 16
_THREADS = 256


@cache
def merge_runs(vocabulary: int, run: int) -> tirx.PrimFunc:
    """values (B, V) float32, indices (B, V) int32, both in sorted runs, to the same in runs 16 times as long.

    Args:
        vocabulary: V.
        run: Length of the runs. At 1, the indices are not an argument; they are 0 to V - 1.
    """

    def define() -> None:
        batch = ks.size("batch")
        values = ks.argument("values", (batch, vocabulary), "float32")
        indices = ks.argument("indices", (batch, vocabulary), "int32") if run > 1 else None
        values_out = ks.argument("values_out", (batch, vocabulary), "float32")
        indices_out = ks.argument("indices_out", (batch, vocabulary), "int32")
        with ks.launch([-(-vocabulary // _THREADS), batch], _THREADS) as (block, row, thread):
            v = block * _THREADS + thread
            with ks.when(v < vocabulary):
                value, rank = ks.local(1), ks.local(1, "int32")
                ks.store(value, values[row, v], 0)
                start = v // (WAYS * run) * (WAYS * run)
                ks.store(rank, start + v % run, 0)
                own = v % (WAYS * run) // run
                with T.serial(WAYS) as way:
                    begin = start + way * run
                    with ks.when(tirx.all(way != own, begin < vocabulary)):
                        count = tirx.min(vocabulary - begin, run)
                        before = _before(lambda at: values[row, at], value[0], begin, count, way < own, run)
                        ks.store(rank, rank[0] + before, 0)
                ks.store(values_out, value[0], row, rank[0])
                ks.store(indices_out, v if indices is None else indices[row, v], row, rank[0])

    return ks.build(define)


def _before(
    value_at: Callable[[tirx.Expr], tirx.Expr],
    value: tirx.Expr,
    begin: tirx.Expr,
    count: tirx.Expr,
    earlier: tirx.Expr,
    run: int,
) -> tirx.Expr:
    """How many elements of a run come before a value; equal ones do if their run is earlier."""
    low, high, middle = (ks.local(1, "int32") for _ in range(3))
    ks.store(low, tirx.const(0, "int32"), 0)
    ks.store(high, count, 0)
    with T.serial(run.bit_length()), ks.when(low[0] < high[0]):
        ks.store(middle, (low[0] + high[0]) // 2, 0)
        other = value_at(begin + middle[0])
        with T.If(tirx.any(other > value, tirx.all(earlier, other == value))):
            with T.Then():
                ks.store(low, middle[0] + 1, 0)
            with T.Else():
                ks.store(high, middle[0], 0)
    return low[0]
