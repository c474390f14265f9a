"""Sums over the threads of a subgroup, which exchange values without workgroup memory and without a barrier.

Threads are taken `width` at a time, a power of two: a thread's lane is its number modulo `width`. With a width of 1
nothing is exchanged, so a kernel that is written with these functions has a form for every device.

Assumes: every subgroup has at least `width` threads, and the threads of a workgroup fill its subgroups in the order of
their numbers. WGSL promises neither. The page reads the first from the adapter and tests the second on the device
(`web/src/engine/subgroups.ts`).
"""

from collections.abc import Callable

from tvm import tirx

from recursivemas.compiler.kernels import script as ks

Combine = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]


def width_of(subgroup_size: int, threads: int) -> int:
    """The widest part of `threads` threads that lies in one subgroup: a power of two that divides their number."""
    return min(subgroup_size, threads & -threads)


def exchanged(value: tirx.Expr, mask: int) -> tirx.Expr:
    """The float32 value of the thread whose lane differs in the bit `mask`. All threads of a subgroup must get here."""
    return tirx.call_pure_extern("float32", "subgroupShuffleXor", value, tirx.const(mask, "uint32"))


def combine_lanes(value: tirx.Buffer, width: int, combine: Combine = lambda a, b: a + b) -> None:
    """Puts the sum (or what else `combine` makes) of `value[0]` over all lanes into `value[0]` of each."""
    mask = 1
    while mask < width:
        ks.store(value, combine(value[0], exchanged(value[0], mask)), 0)
        mask *= 2


class ScatteredSums:
    """Sums of several rows over all lanes, of which each lane gets its share of the rows.

    Lanes halve the rows among themselves before they halve the lanes, so that 8 rows take 9 exchanges over 32 lanes
    instead of 40.

    Attributes:
        first: The first row of this lane.
        count: How many rows a lane has; its sums are the first `count` of `sums`, and of each further set.
        owner: Whether the lane is the one of those with the same rows that should store them.
    """

    first: tirx.Expr
    count: int
    owner: tirx.Expr | bool

    def __init__(self, sums: tirx.Buffer, rows: int, lane: tirx.Expr, width: int, sets: int = 1) -> None:
        """Emits the exchanges.

        Args:
            sums: A lane's own sums, (sets · rows,) float32.
            rows: A power of two.
            lane: The lane's number, below `width`.
            width: How many lanes there are.
            sets: Sums of which a lane gets the same rows, such as those of gates and of what they multiply.
        """
        self.first, self.count = tirx.const(0, "int32"), rows
        mask, sharing = width // 2, width
        while mask:
            half = self.count // 2
            if half:
                upper = tirx.bitwise_and(lane, mask) != 0
                for each in range(sets):
                    for row in ks.each(half):
                        _halve(sums, each * rows + row, half, upper, mask)
                self.first, self.count = self.first + tirx.Select(upper, half, 0), half
                sharing = mask
            else:
                for each in range(sets):
                    at = each * rows
                    ks.store(sums, sums[at] + exchanged(sums[at], mask), at)
            mask //= 2
        self.owner = True if sharing == 1 else tirx.bitwise_and(lane, sharing - 1) == 0


def _halve(sums: tirx.Buffer, at: tirx.Expr, half: int, upper: tirx.Expr, mask: int) -> None:
    """Lanes with the bit `mask` keep the second half of the rows, the others the first, and get the rest of them."""
    sent = ks.local(1)
    ks.store(sent, tirx.Select(upper, sums[at], sums[at + half]), 0)
    ks.store(sums, tirx.Select(upper, sums[at + half], sums[at]), at)
    ks.store(sums, sums[at] + exchanged(sent[0], mask), at)
