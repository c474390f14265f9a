"""Attention of one position over the KV cache, split over the cache.

Source: FlashDecoding: the cache is cut into spans, each is attended to on its own, and a second kernel merges the parts
by their largest score and their sum of exponentials, as FlashAttention-2, section 3.1.1, merges blocks.

A workgroup takes a span of one key head for all query heads that share it, so keys and values are read once. First each
of its threads computes the scores of one position; after the only barrier, each thread sums the values of every so many
positions, four columns wide. Parts are written by each of these teams of threads, so that they need no second barrier.

With subgroups, the threads of a subgroup find the largest of their scores and the sum of their exponentials before the
barrier. So each exponential is computed once, not by every thread that sums values.

Assumes: head_dim is a multiple of 4; the cache has one sequence in this call, of at most `context` positions.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.attention_shape import PAGE, AttentionShape
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.kernels.subgroups import combine_lanes, width_of

THREADS = 128
_MOST_SPANS = 128
_MOST_TEAMS = 8
_LEAST = -5e4
_UNSEEN = 2 * _LEAST
_LOG2_E = 1.4426950408889634
_MERGE_THREADS = 64


def span(shape: AttentionShape) -> int:
    """Positions of a span: few key heads need short spans to keep a GPU busy, and a long context needs longer ones."""
    least = THREADS if shape.kv_heads * shape.head_splits >= 6 else 32
    return least * max(1, -(-shape.context // (least * _MOST_SPANS)))


def most_spans(shape: AttentionShape) -> int:
    """Spans of the longest cache."""
    return -(-_reach(shape) // span(shape))


def teams(shape: AttentionShape) -> int:
    """Teams of threads that sum the values of a span."""
    return max(1, min(_MOST_TEAMS, THREADS // (shape.head_dim // ks.LANES)))


def exponentials(shape: AttentionShape, subgroup_size: int | None) -> int:
    """How many a workgroup computes for a full span, in all of its threads."""
    if subgroup_size is None:
        return shape.shared_heads * span(shape) * (shape.head_dim // ks.LANES)
    form = _SubgroupAttend(shape, subgroup_size)
    return form.span * form.sharing * form.own_heads + form.heads * form.blocks * form.teams * form.columns


def parts_shape(shape: AttentionShape) -> tuple[int, int, int]:
    """Shape of the float32 buffer between the two kernels: sums of values, then largest score and sum."""
    return shape.heads, most_spans(shape) * teams(shape), shape.head_dim + ks.LANES


@cache
def attend_kernel(shape: AttentionShape) -> tirx.PrimFunc:
    """q (1, heads, D), positions (1,), page table (pages,), pages to parts; see `parts_shape`."""
    return described(ks.build(lambda: _Attend(shape).define()), "decode_attention", **asdict(shape))


def attend_kernel_with_subgroups(subgroup_size: int, **shape: Any) -> tirx.PrimFunc:
    """Its form for subgroups of at least so many threads."""
    return ks.build(lambda: _SubgroupAttend(AttentionShape(**shape), subgroup_size).define())


@cache
def merge_kernel(shape: AttentionShape) -> tirx.PrimFunc:
    """parts, positions (1,) to the attention's output (1, heads, D)."""
    return ks.build(lambda: _define_merge(shape))


def _extent(shape: AttentionShape, position: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
    """Where the first span begins, at the beginning of a page, and how many positions there are from there on."""
    if shape.window is None:
        return tirx.const(0, "int32"), position + 1
    base = tirx.max(position + 1 - shape.window, 0) // PAGE * PAGE
    return base, position + 1 - base


def _reach(shape: AttentionShape) -> int:
    """Most positions that spans must hold: a window may begin anywhere in its first page."""
    return shape.context if shape.window is None else min(shape.context, shape.window + PAGE)


class _Attend:
    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape
        self.heads = shape.shared_heads
        self.columns = shape.head_dim // ks.LANES
        self.span, self.teams = span(shape), teams(shape)
        # Threads that share a position, each for some of the heads.
        self.sharing = max(1, THREADS // self.span)
        self.own_heads = -(-self.heads // self.sharing)

    def define(self) -> None:
        shape = self.shape
        table_pages = ks.size("table_pages")
        self.q = ks.argument("q", (1, shape.heads, shape.head_dim), shape.dtype)
        positions = ks.argument("at", (1,), "int32", offset=True)
        self.table = ks.argument("table", (table_pages,), "int32", offset=True)
        pages_shape = (ks.size("pages_count"), 2, shape.kv_heads, PAGE, shape.head_dim)
        self.pages = ks.argument("pages", pages_shape, shape.dtype)
        self.parts = ks.argument("parts", parts_shape(shape), "float32")
        spans = tirx.min((table_pages * PAGE + self.span - 1) // self.span, most_spans(shape))
        with ks.launch([spans, shape.kv_heads * shape.head_splits], THREADS) as (block, head_block, thread):
            self.thread, self.kv_head = thread, head_block // shape.head_splits
            self.first_head = head_block * self.heads
            self.position = positions[0]
            first, count = _extent(shape, self.position)
            used = (count + self.span - 1) // self.span
            self.allocate()
            self.sums, self.state = ks.local(self.heads * ks.LANES), ks.local(self.heads * 2)
            for head in ks.each(self.heads):
                ks.store(self.sums, ks.spread(ks.f32(0.0)), ks.four(head * ks.LANES))
                ks.store(self.state, ks.f32(_LEAST), 2 * head)
                ks.store(self.state, ks.f32(0.0), 2 * head + 1)
            inside = tirx.max(tirx.min(count - block * self.span, self.span), 0)
            start = first + block * self.span
            for begin in range(0, self.span, THREADS):
                self._score(start, inside, begin)
            ks.barrier()
            self._sum(start, inside)
            with ks.when(block < used):
                self._write(block)

    def allocate(self) -> None:
        """Workgroup memory."""
        self.scores = ks.shared((self.heads * self.span,), "float32")

    def _at(self, kind: int, position: tirx.Expr, column: tirx.Expr) -> tirx.Expr:
        """Four columns of a key (0) or value (1)."""
        page = self.table[position // PAGE]
        return ks.vector(self.pages, page, kind, self.kv_head, position % PAGE, column * ks.LANES)

    def _score(self, start: tirx.Expr, inside: tirx.Expr, begin: int) -> None:
        at = begin + self.thread % self.span
        with ks.when(at < inside):
            for own, score in self._scores_at(start, at):
                head = self._head(own)
                with ks.when(self._has(head)):
                    ks.store(self.scores, score, head * self.span + at)

    def _head(self, own: tirx.Expr) -> tirx.Expr:
        """One of the heads of a thread, counted from the workgroup's first; there may be no such head."""
        return (self.thread // self.span if self.sharing > 1 else 0) * self.own_heads + own

    def _has(self, head: tirx.Expr) -> tirx.Expr | bool:
        return True if self.heads == self.own_heads * self.sharing else head < self.heads

    def _scores_at(self, start: tirx.Expr, at: tirx.Expr) -> Iterator[tuple[tirx.Var, tirx.Expr]]:
        """A thread's heads, and each one's score of a position of the span."""
        dots, key = ks.local(self.own_heads * ks.LANES), ks.local(ks.LANES)
        for own in ks.each(self.own_heads):
            ks.store(dots, ks.spread(ks.f32(0.0)), ks.four(own * ks.LANES))
        for column in ks.each(self.columns):
            ks.store(key, self._at(0, start + at, column), ks.four(0))
            for own in ks.each(self.own_heads):
                head = self.first_head + tirx.min(self._head(own), self.heads - 1)
                query = ks.vector(self.q, 0, head, column * ks.LANES)
                ks.store(dots, ks.vector(dots, own * ks.LANES) + ks.vector(key, 0) * query, ks.four(own * ks.LANES))
        for own in ks.each(self.own_heads):
            score = ks.across(dots, own * ks.LANES) * ks.f32(self.shape.scale * _LOG2_E)
            if self.shape.window is not None:
                seen = self.position - (start + at) < self.shape.window
                score = tirx.Select(seen, score, ks.f32(_UNSEEN))
            yield own, score

    def _sum(self, start: tirx.Expr, inside: tirx.Expr) -> None:
        """Adds every `teams`-th position of the span to a team's sums."""
        team, column = self.thread // self.columns, self.thread % self.columns
        with ks.when(team < self.teams):
            steps = tirx.max((inside - team + self.teams - 1) // self.teams, 0)
            with T.serial(steps) as step:
                for head in ks.each(self.heads):
                    score = self.scores[head * self.span + step * self.teams + team]
                    ks.store(self.state, tirx.max(self.state[2 * head], score), 2 * head)
            with T.serial(steps) as step:
                value, weight = ks.local(ks.LANES), ks.local(1)
                at = step * self.teams + team
                ks.store(value, self._at(1, start + at, column), ks.four(0))
                for head in ks.each(self.heads):
                    ks.store(weight, tirx.exp2(self.scores[head * self.span + at] - self.state[2 * head]), 0)
                    ks.store(self.state, self.state[2 * head + 1] + weight[0], 2 * head + 1)
                    own = head * ks.LANES
                    total = ks.vector(self.sums, own) + ks.spread(weight[0]) * ks.vector(value, 0)
                    ks.store(self.sums, total, ks.four(own))

    def _write(self, block: tirx.Expr) -> None:
        team, column = self.thread // self.columns, self.thread % self.columns
        with ks.when(team < self.teams):
            for head in ks.each(self.heads):
                where = (self.first_head + head, block * self.teams + team)
                ks.store(self.parts, ks.vector(self.sums, head * ks.LANES), *where, ks.four(column * ks.LANES))
                with ks.when(column == 0):
                    ends = ks.local(ks.LANES)
                    for i in range(ks.LANES):
                        ks.store(ends, self._end(team, head, i), i)
                    ks.store(self.parts, ks.vector(ends, 0), *where, ks.four(self.shape.head_dim))

    def _end(self, team: tirx.Expr, head: tirx.Expr, i: int) -> tirx.Expr:
        """A part's largest score (0), the sum of its exponentials (1), and what fills the vector."""
        return self.state[2 * head + i] if i < 2 else ks.f32(0.0)


class _SubgroupAttend(_Attend):
    """The form for subgroups: `width` threads that follow each other have a block of as many positions."""

    def __init__(self, shape: AttentionShape, subgroup_size: int) -> None:
        super().__init__(shape)
        self.width = width_of(subgroup_size, min(self.span, THREADS))
        self.blocks = self.span // self.width

    def allocate(self) -> None:
        """Workgroup memory: exponentials relative to the largest score of the block, that score, and their sum."""
        super().allocate()
        self.largest = ks.shared((self.heads * self.blocks,), "float32")
        self.totals = ks.shared((self.heads * self.blocks,), "float32")

    def _score(self, start: tirx.Expr, inside: tirx.Expr, begin: int) -> None:
        at = begin + self.thread % self.span
        own_scores = ks.local(self.own_heads)
        for own in ks.each(self.own_heads):
            ks.store(own_scores, ks.f32(_UNSEEN), own)
        with ks.when(at < inside):
            for own, score in self._scores_at(start, at):
                ks.store(own_scores, score, own)
        for own in ks.each(self.own_heads):
            largest, power, total = ks.local(1), ks.local(1), ks.local(1)
            ks.store(largest, own_scores[own], 0)
            combine_lanes(largest, self.width, tirx.max)
            ks.store(power, tirx.exp2(own_scores[own] - largest[0]), 0)
            ks.store(total, tirx.Select(at < inside, power[0], ks.f32(0.0)), 0)
            combine_lanes(total, self.width)
            head = self._head(own)
            with ks.when(self._has(head)):
                ks.store(self.scores, power[0], head * self.span + at)
                with ks.when(self.thread % self.width == 0):
                    ks.store(self.largest, largest[0], head * self.blocks + at // self.width)
                    ks.store(self.totals, total[0], head * self.blocks + at // self.width)

    def _sum(self, start: tirx.Expr, inside: tirx.Expr) -> None:
        """Adds every `teams`-th position of each block to a team's sums."""
        team, column = self.thread // self.columns, self.thread % self.columns
        used = (inside + self.width - 1) // self.width
        with ks.when(team < self.teams):
            with T.serial(used) as block:
                for head in ks.each(self.heads):
                    largest = self.largest[head * self.blocks + block]
                    ks.store(self.state, tirx.max(self.state[2 * head], largest), 2 * head)
            with T.serial(used) as block:
                shrink = ks.local(self.heads)
                for head in ks.each(self.heads):
                    at = head * self.blocks + block
                    ks.store(shrink, tirx.exp2(self.largest[at] - self.state[2 * head]), head)
                    ks.store(self.state, self.state[2 * head + 1] + shrink[head] * self.totals[at], 2 * head + 1)
                count = tirx.min(inside - block * self.width, self.width)
                with T.serial(tirx.max((count - team + self.teams - 1) // self.teams, 0)) as step:
                    value, at = ks.local(ks.LANES), block * self.width + step * self.teams + team
                    ks.store(value, self._at(1, start + at, column), ks.four(0))
                    for head in ks.each(self.heads):
                        weight, own = self.scores[head * self.span + at] * shrink[head], head * ks.LANES
                        total = ks.vector(self.sums, own) + ks.spread(weight) * ks.vector(value, 0)
                        ks.store(self.sums, total, ks.four(own))

    def _end(self, team: tirx.Expr, head: tirx.Expr, i: int) -> tirx.Expr:
        """All teams know the sum of the whole span, of which only one may tell the merge."""
        end = super()._end(team, head, i)
        return tirx.Select(team == 0, end, ks.f32(0.0)) if i == 1 else end


def _define_merge(shape: AttentionShape) -> None:
    columns, members = shape.head_dim // ks.LANES, teams(shape)
    parts = ks.argument("parts", parts_shape(shape), "float32")
    positions = ks.argument("at", (1,), "int32", offset=True)
    output = ks.argument("output", (1, shape.heads, shape.head_dim), shape.dtype)
    with ks.launch([-(-shape.heads * columns // _MERGE_THREADS)], _MERGE_THREADS) as (block, thread):
        at = block * _MERGE_THREADS + thread
        head, column = at // columns, at % columns
        _, count = _extent(shape, positions[0])
        spans = (count + span(shape) - 1) // span(shape)
        with ks.when(at < shape.heads * columns):
            largest, total, sums = ks.local(1), ks.local(1), ks.local(ks.LANES)
            ks.store(largest, ks.f32(_LEAST), 0)
            ks.store(total, ks.f32(0.0), 0)
            ks.store(sums, ks.spread(ks.f32(0.0)), ks.four(0))
            with T.serial(spans * members) as part:
                ends = ks.local(ks.LANES)
                ks.store(ends, ks.vector(parts, head, part, shape.head_dim), ks.four(0))
                ks.store(largest, tirx.max(largest[0], ends[0]), 0)
            with T.serial(spans * members) as part:
                ends, weight = ks.local(ks.LANES), ks.local(1)
                ks.store(ends, ks.vector(parts, head, part, shape.head_dim), ks.four(0))
                ks.store(weight, tirx.exp2(ends[0] - largest[0]), 0)
                ks.store(total, total[0] + ends[1] * weight[0], 0)
                values = ks.vector(parts, head, part, column * ks.LANES)
                ks.store(sums, ks.vector(sums, 0) + values * ks.spread(weight[0]), ks.four(0))
            made = (ks.vector(sums, 0) / ks.spread(total[0])).astype(f"{shape.dtype}x{ks.LANES}")
            ks.store(output, made, 0, head, ks.four(column * ks.LANES))
