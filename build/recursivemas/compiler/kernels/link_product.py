"""A product of a link: x Wᵀ + b, plus x's way around it, in float32.

A library accepts links of any width, so all sizes are known only when the kernel is called, and every product of a
link has the same two kernels. A team of 64 threads computes one row of the weight for up to four positions; each thread
takes every 64th column. With subgroups, threads exchange their sums before they meet in workgroup memory.

Assumes: nothing of M, K and N. Hand-offs of many positions read the weight once for each four of them.
"""

from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.kernels.subgroups import ScatteredSums, width_of

_THREADS = 64
_POSITIONS = 4


@cache
def link_product(*, residual: bool) -> tirx.PrimFunc:
    """x (M, K), weight (N, K), bias (N,), and a residual (M, N) if there is one, to (M, N); all float32."""
    return described(ks.build(lambda: _define(1, residual=residual)), "link_product", residual=residual)


def link_product_with_subgroups(subgroup_size: int, *, residual: bool) -> tirx.PrimFunc:
    """Its form for subgroups of at least so many threads."""
    return ks.build(lambda: _define(subgroup_size, residual=residual))


def _define(subgroup_size: int, *, residual: bool) -> None:
    width = width_of(subgroup_size, _THREADS)
    positions, columns, rows = ks.size("positions"), ks.size("columns"), ks.size("rows")
    x = ks.argument("x", (positions, columns), "float32")
    weight = ks.argument("weight", (rows, columns), "float32")
    bias = ks.argument("bias", (rows,), "float32")
    added = ks.argument("residual", (positions, rows), "float32") if residual else None
    y = ks.argument("y", (positions, rows), "float32")
    with ks.launch([rows, (positions + _POSITIONS - 1) // _POSITIONS], _THREADS) as (row_block, block, thread):
        n, first = tirx.min(row_block, rows - 1), block * _POSITIONS
        sums, value = ks.local(_POSITIONS), ks.local(1)
        collected = ks.shared((_POSITIONS, _THREADS // width), "float32")
        for at in ks.each(_POSITIONS):
            ks.store(sums, ks.f32(0.0), at)
        with T.serial((columns + _THREADS - 1) // _THREADS) as step:
            column = step * _THREADS + thread
            with ks.when(column < columns):
                ks.store(value, weight[n, column], 0)
                for at in ks.each(_POSITIONS):
                    t = tirx.min(first + at, positions - 1)
                    ks.store(sums, sums[at] + value[0] * x[t, column], at)
        scattered = ScatteredSums(sums, _POSITIONS, thread % width, width)
        with ks.when(scattered.owner):
            for at in ks.each(scattered.count):
                ks.store(collected, sums[at], scattered.first + at, thread // width)
        ks.barrier()
        t = first + thread
        with ks.when(tirx.all(thread < _POSITIONS, t < positions, row_block < rows)):
            total = ks.local(1)
            ks.store(total, bias[n], 0)
            for i in ks.each(_THREADS // width):
                ks.store(total, total[0] + collected[thread, i], 0)
            ks.store(y, total[0] if added is None else total[0] + added[t, n], t, n)
