"""Draws tokens from sorted probabilities, cut to the smallest set that reaches top_p, in two dispatches.

Source: Holtzman et al. 2020, nucleus sampling. The first dispatch sums blocks of probabilities. In the second, a
workgroup for each draw looks for the first running sum that reaches a bound, block by block, then thread by thread,
then value by value: first for top_p, whose running sum is the kept mass, then for the draw's share of that mass.

Assumes: each row is sorted from the largest to the smallest and adds up to about 1, and draws lie in [0, 1).
"""

from collections.abc import Callable
from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks

THREADS = 256
_OWN = 16
BLOCK = THREADS * _OWN


def blocks(vocabulary: int) -> int:
    """Blocks of a row."""
    return -(-vocabulary // BLOCK)


@cache
def sum_blocks(vocabulary: int) -> tirx.PrimFunc:
    """probs (B, V) to the sums of their blocks, (B, blocks)."""

    def define() -> None:
        batch = ks.size("batch")
        probs = ks.argument("probs", (batch, vocabulary), "float32")
        sums = ks.argument("sums", (batch, blocks(vocabulary)), "float32")
        with ks.launch([blocks(vocabulary), batch], THREADS) as (block, row, thread):
            shared, total = ks.shared((THREADS,), "float32"), ks.local(1)
            ks.store(shared, _own_sum(probs, vocabulary, row, block, thread), thread)
            ks.barrier()
            with ks.when(thread == 0):
                ks.store(total, ks.f32(0.0), 0)
                with T.serial(THREADS) as i:
                    ks.store(total, total[0] + shared[i], 0)
                ks.store(sums, total[0], row, block)

    return ks.build(define)


@cache
def draw(vocabulary: int) -> tirx.PrimFunc:
    """probs (B, V) sorted, tokens (B, V), sums (B, blocks), uniform (N,), rows (N,), top_p (B,) to tokens (N,)."""

    def define() -> None:
        batch, samples = ks.size("batch"), ks.size("samples")
        probs = ks.argument("probs", (batch, vocabulary), "float32")
        tokens = ks.argument("tokens", (batch, vocabulary), "int32")
        sums = ks.argument("sums", (batch, blocks(vocabulary)), "float32")
        uniform = ks.argument("uniform", (samples,), "float32")
        rows = ks.argument("rows", (samples,), "int32")
        top_p = ks.argument("top_p", (batch,), "float32")
        drawn = ks.argument("drawn", (samples,), "int32")
        with ks.launch([samples], THREADS) as (sample, thread):
            row = rows[tirx.min(sample, samples - 1)]
            search = _Search(probs, sums, vocabulary, row, thread)
            bound, mass = ks.local(1), ks.shared((1,), "float32")
            ks.store(bound, top_p[row], 0)
            search.define(bound[0], strictly=False)
            with ks.when(thread == 0):
                # After rounding, even the last sum may be below top_p.
                ks.store(mass, tirx.Select(search.reached[0] >= bound[0], search.reached[0], bound[0]), 0)
            ks.barrier()
            ks.store(bound, uniform[tirx.min(sample, samples - 1)] * mass[0], 0)
            search.define(bound[0], strictly=True)
            with ks.when(tirx.all(thread == 0, sample < samples)):
                ks.store(drawn, tokens[row, search.index[0]], sample)

    return ks.build(define)


def _own_sum(probs: tirx.Buffer, vocabulary: int, row: tirx.Expr, block: tirx.Expr, thread: tirx.Expr) -> tirx.Expr:
    total = ks.local(1)
    ks.store(total, ks.f32(0.0), 0)
    with T.serial(_OWN) as i:
        at = block * BLOCK + thread * _OWN + i
        with ks.when(at < vocabulary):
            ks.store(total, total[0] + probs[row, at], 0)
    return total[0]


class _Search:
    """The first index whose running sum reaches a bound, in thread 0's registers, or the last index."""

    def __init__(
        self, probs: tirx.Buffer, sums: tirx.Buffer, vocabulary: int, row: tirx.Expr, thread: tirx.Var
    ) -> None:
        self.probs, self.sums, self.vocabulary, self.row, self.thread = probs, sums, vocabulary, row, thread
        self.index, self.place = ks.local(1, "int32"), ks.local(1, "int32")
        self.reached, self.next = ks.local(1), ks.local(1)
        self.own = ks.shared((THREADS,), "float32")

    def define(self, bound: tirx.Expr, *, strictly: bool) -> None:
        """Emits the search; `strictly` wants a sum above the bound."""

        def short(total: tirx.Expr) -> tirx.Expr:
            return total <= bound if strictly else total < bound

        ks.store(self.reached, ks.f32(0.0), 0)
        self._pass(blocks(self.vocabulary), lambda i: self.sums[self.row, i], short)
        block = self.place[0]
        ks.barrier()
        ks.store(self.own, _own_sum(self.probs, self.vocabulary, self.row, block, self.thread), self.thread)
        ks.barrier()
        with ks.when(self.thread == 0):
            ks.store(self.index, block * BLOCK, 0)
            self._pass(THREADS, lambda i: self.own[i], short)
            ks.store(self.index, self.index[0] + self.place[0] * _OWN, 0)
            self._pass(_OWN, self._value, short)
            ks.store(self.index, tirx.min(self.index[0] + self.place[0], self.vocabulary - 1), 0)
            ks.store(self.reached, self.next[0], 0)

    def _value(self, i: tirx.Expr) -> tirx.Expr:
        at = self.index[0] + i
        return tirx.if_then_else(at < self.vocabulary, self.probs[self.row, at], ks.f32(0.0))

    def _pass(self, count: int, part: Callable[[ks.Index], tirx.Expr], short: Callable[[tirx.Expr], tirx.Expr]) -> None:
        """Adds parts to `reached` while the sum stays short; `place` is the first part that does not, or the last."""
        ks.store(self.place, tirx.const(0, "int32"), 0)
        ks.store(self.next, self.reached[0] + part(0), 0)
        with T.serial(count - 1) as i, ks.when(tirx.all(self.place[0] == i, short(self.next[0]))):
            ks.store(self.reached, self.next[0], 0)
            ks.store(self.place, i + 1, 0)
            ks.store(self.next, self.reached[0] + part(i + 1), 0)
