"""A product for one position.

A team of threads shares a few rows of the weight. Each of its threads takes every so many groups of 32 columns: it
loads the 32 activations once, into registers, and uses them for all of the team's rows, whose weights it loads four
words (32 packed values) or four values at a time. Neighbouring threads read neighbouring addresses. One barrier stands
at the end, before the threads' sums are added up. With subgroups, a team's threads exchange their sums first; a team
that lies in one subgroup needs neither the barrier nor workgroup memory.

Assumes: nothing of K and N; it is fastest where K is a multiple of 32.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.kernels.product import Operands, Product, inverse_rms, levels
from recursivemas.compiler.kernels.subgroups import ScatteredSums, combine_lanes, width_of
from recursivemas.system.quantize import GROUP_SIZE, PER_WORD

THREADS = 64
_WIDEST_TEAM = 32
# Wide matrices have enough rows to fill a GPU with fewer workgroups, which then read the activations less often.
_WIDE = 4096


def rows_per_team(product: Product) -> int:
    """Rows of the weight whose sums a thread keeps at a time."""
    return 8 if product.rows >= _WIDE else 4


def team_of(product: Product) -> int:
    """Threads that share rows: a power of two, at most one for each group of columns."""
    return min(_WIDEST_TEAM, 1 << (product.groups.bit_length() - 1))


def workgroups(product: Product) -> int:
    """Of the dispatch."""
    made = rows_per_team(product) // (2 if product.gate else 1)
    return -(-product.outputs // (THREADS // team_of(product) * made))


@cache
def decode_product(product: Product) -> tirx.PrimFunc:
    """The kernel: x (1, 1, K) or (1, K) to y."""
    return described(ks.build(lambda: _define(product, 1)), "decode_product", **asdict(product))


def decode_product_with_subgroups(subgroup_size: int, **product: Any) -> tirx.PrimFunc:
    """Its form for subgroups of at least so many threads."""
    return ks.build(lambda: _define(Product(**product), subgroup_size))


def _define(product: Product, subgroup_size: int) -> None:
    operands = Operands(product, 1)
    held, team = rows_per_team(product), team_of(product)
    teams, width = THREADS // team, width_of(subgroup_size, team)
    made = held // 2 if product.gate else held  # results of a team
    sets = held // made
    with ks.launch([workgroups(product)], THREADS) as (block, thread):
        lane, own = thread % team, thread // team
        first = (block * teams + own) * made
        sums, squares = ks.local(held * ks.LANES), ks.local(ks.LANES)
        for row in ks.each(held):
            ks.store(sums, ks.spread(ks.f32(0.0)), ks.four(row * ks.LANES))
        ks.store(squares, ks.spread(ks.f32(0.0)), ks.four(0))
        for step in ks.each(-(-product.groups // team)):
            group = step * team + lane
            with ks.when(True if product.groups % team == 0 else group < product.groups):
                _add_group(operands, group, first, held, sums, squares)
        totals, square = ks.local(held), ks.local(1)
        for row in ks.each(held):
            ks.store(totals, ks.across(sums, row * ks.LANES), row)
        scattered = ScatteredSums(totals, made, thread % width, width, sets)
        if product.eps is not None:
            ks.store(square, ks.across(squares, 0), 0)
            combine_lanes(square, width)
        if width == team:
            with ks.when(scattered.owner):
                for row in ks.each(scattered.count):
                    n = first + scattered.first + row
                    with ks.when(n < product.outputs):
                        scale = inverse_rms(product, square[0]) if product.eps is not None else None
                        operands.finish([totals[each * made + row] for each in range(sets)], 0, n, scale)
            return
        parts = team // width
        collected = ks.shared((teams * held, parts), "float32")
        with ks.when(scattered.owner):
            for each in range(sets):
                for row in ks.each(scattered.count):
                    place = own * held + each * made + scattered.first + row
                    ks.store(collected, totals[each * made + row], place, lane // width)
        if product.eps is not None:
            all_squares = ks.shared((THREADS // width,), "float32")
            with ks.when(True if width == 1 else thread % width == 0):
                ks.store(all_squares, square[0], thread // width)
        ks.barrier()
        for turn in ks.each(-(-teams * made // THREADS)):
            at = turn * THREADS + thread
            n = block * (teams * made) + at
            with ks.when(tirx.all(at < teams * made, n < product.outputs)):
                row = at // made * held + at % made
                rows = [row + each * made for each in range(sets)]
                values = [_total(_row_of(collected, each), parts) for each in rows]
                scale = None
                if product.eps is not None:
                    scale = inverse_rms(product, _total(lambda i: all_squares[i], parts))
                operands.finish(values, 0, n, scale)


def _row_of(collected: tirx.Buffer, row: tirx.Expr) -> Callable[[tirx.Var], tirx.Expr]:
    return lambda i: collected[row, i]


def _total(value: Callable[[tirx.Var], tirx.Expr], count: int) -> tirx.Expr:
    total = ks.local(1)
    ks.store(total, ks.f32(0.0), 0)
    with T.serial(count) as i:
        ks.store(total, total[0] + value(i), 0)
    return total[0]


def _add_group(
    operands: Operands, group: tirx.Expr, first: tirx.Expr, held: int, sums: tirx.Buffer, squares: tirx.Buffer
) -> None:
    """Adds a group's 32 columns to the sums of all rows, and to the sum of squares."""
    product = operands.product
    x = ks.local(GROUP_SIZE)
    for part in ks.each(GROUP_SIZE // ks.LANES):
        at, column = part * ks.LANES, group * GROUP_SIZE + part * ks.LANES
        ks.store(x, operands.x_at(0, column), ks.four(at))
        if product.eps is not None:
            value = ks.vector(x, at)
            ks.store(squares, ks.vector(squares, 0) + value * value, ks.four(0))
            ks.store(x, value * operands.gain_at(column), ks.four(at))
    for row in ks.each(held):
        n, dot = _row(product, first, row, held), ks.local(ks.LANES)
        ks.store(dot, ks.spread(ks.f32(0.0)), ks.four(0))
        if product.packed:
            words = ks.local(ks.LANES, "uint32")
            ks.store(words, operands.weight[n, ks.four(group * ks.LANES)], ks.four(0))
            for word in range(ks.LANES):
                for half in range(2):
                    value = ks.vector(x, word * PER_WORD + half * ks.LANES)
                    ks.store(dot, ks.vector(dot, 0) + levels(words[word], half) * value, ks.four(0))
            scaled = ks.vector(dot, 0) * ks.spread(ks.wide(operands.scale[n, group]))
        else:
            for part in ks.each(GROUP_SIZE // ks.LANES):
                weight = operands.weight_at(n, group * GROUP_SIZE + part * ks.LANES)
                ks.store(dot, ks.vector(dot, 0) + weight * ks.vector(x, part * ks.LANES), ks.four(0))
            scaled = ks.vector(dot, 0)
        ks.store(sums, ks.vector(sums, row * ks.LANES) + scaled, ks.four(row * ks.LANES))


def _row(product: Product, first: tirx.Expr, held_row: tirx.Expr, held: int) -> tirx.Expr:
    """The weight's row; beyond the last one the last one again, whose sum is then thrown away."""
    made = held // 2 if product.gate else held
    n = tirx.min(first + held_row % made, product.outputs - 1)
    return n + tirx.Select(held_row >= made, product.outputs, 0) if product.gate else n
