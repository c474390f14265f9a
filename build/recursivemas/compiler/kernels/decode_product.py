"""A product for one position.

A team of threads shares a few rows of the weight. Each of its threads takes every so many groups of 32 columns: it
loads the 32 activations once, into registers, and uses them for all of the team's rows, whose weights it loads four
words (32 packed values) or four values at a time. Neighbouring threads read neighbouring addresses. One barrier stands
at the end, before the threads' sums are added up. With subgroups, a team's threads exchange their sums first; a team
that lies in one subgroup needs neither the barrier nor workgroup memory.

Assumes: nothing of K and N; it is fastest where K is a multiple of 32.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
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
ROWS = (4, 8)
"""Rows of the weight whose sums a thread may keep at a time. Fewer than 4 would read more activations than weights;
more than 8 need more registers for sums than for the 32 activations."""
TEAMS = (32, 16, 8)
"""Threads that may share rows. Wider ones would not fit a subgroup, narrower ones do not read whole lines of memory."""
ENOUGH_WORKGROUPS = 256
"""Enough to fill a GPU; a choice that gives fewer is only taken where none gives more."""


@dataclass(frozen=True)
class Choice:
    """Sizes of a product's kernel, and what follows from them.

    Attributes:
        product: The product.
        rows: Of the weight whose sums a thread keeps.
        team: Threads that share these rows.
    """

    product: Product
    rows: int
    team: int

    @property
    def made(self) -> int:
        """Results of a team."""
        return self.rows // 2 if self.product.gate else self.rows

    @property
    def workgroups(self) -> int:
        """Of the dispatch."""
        return -(-self.product.outputs // (THREADS // self.team * self.made))

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations that all teams load."""
        element = 2 if self.product.dtype == "float16" else 4
        return self.workgroups * (THREADS // self.team) * self.product.columns * element

    @property
    def idle(self) -> float:
        """Share of a team's steps in which a thread has no group of columns."""
        without = -self.product.groups % self.team
        return without / (self.product.groups + without)


def choices(product: Product) -> list[Choice]:
    """All sizes that the kernel may have; no team is wider than there are groups of columns."""
    widest = 1 << (product.groups.bit_length() - 1)
    teams = [team for team in TEAMS if team <= widest] or [widest]
    return [Choice(product, rows, team) for rows in ROWS for team in teams]


def choice(product: Product) -> Choice:
    """The sizes for a product, for all GPUs.

    Of those with enough workgroups it is the one with most rows, because it loads the fewest activations; then the one
    with the smallest idle share, in eighths; then the one with the widest team. Where none has enough workgroups, it is
    the one with most of them.
    """
    enough = [each for each in choices(product) if each.workgroups >= ENOUGH_WORKGROUPS]
    if not enough:
        return max(choices(product), key=lambda each: (each.workgroups, each.team))
    return min(enough, key=lambda each: (-each.rows, int(8 * each.idle), -each.team))


@cache
def decode_product(product: Product) -> tirx.PrimFunc:
    """The kernel: x (1, 1, K) or (1, K) to y."""
    return described(ks.build(lambda: _define(product, 1)), "decode_product", **asdict(product))


def decode_product_with_subgroups(subgroup_size: int, **product: Any) -> tirx.PrimFunc:
    """Its form for subgroups of at least so many threads."""
    return ks.build(lambda: _define(Product(**product), subgroup_size))


def _define(product: Product, subgroup_size: int) -> None:
    operands, sizes = Operands(product, 1), choice(product)
    held, team, made = sizes.rows, sizes.team, sizes.made
    teams, width = THREADS // team, width_of(subgroup_size, team)
    with ks.launch([sizes.workgroups], THREADS) as (block, thread):
        lane = thread % team
        first = (block * teams + thread // team) * made
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
        shared_out = ScatteredSums(totals, made, thread % width, width, held // made)
        if product.eps is not None:
            ks.store(square, ks.across(squares, 0), 0)
            combine_lanes(square, width)
        if width < team:
            _finish_together(operands, sizes, width, block, thread, totals, square, shared_out)
            return
        with ks.when(shared_out.owner):
            for row in ks.each(shared_out.count):
                n = first + shared_out.first + row
                with ks.when(n < product.outputs):
                    scale = inverse_rms(product, square[0]) if product.eps is not None else None
                    operands.finish([totals[at + row] for at in range(0, held, made)], 0, n, scale)


def _finish_together(
    operands: Operands,
    sizes: Choice,
    width: int,
    block: tirx.Var,
    thread: tirx.Var,
    totals: tirx.Buffer,
    square: tirx.Buffer,
    shared_out: ScatteredSums,
) -> None:
    """Adds up what is left for each row of a team, and of its squares, in workgroup memory."""
    product, held, team, made = operands.product, sizes.rows, sizes.team, sizes.made
    teams, parts = THREADS // team, team // width
    collected = ks.shared((teams * held, parts), "float32")
    with ks.when(shared_out.owner):
        for at in range(0, held, made):
            for row in ks.each(shared_out.count):
                place = thread // team * held + at + shared_out.first + row
                ks.store(collected, totals[at + row], place, thread % team // width)
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
            values = [_total(_row_of(collected, row + each), parts) for each in range(0, held, made)]
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
