"""Attention of one position over the KV cache, split over the cache.

Source: FlashDecoding: the cache is cut into spans, each is attended to on its own, and a second kernel merges the parts
by their largest score and their sum of exponentials, as FlashAttention-2, section 3.1.1, merges blocks.

A workgroup takes a span of one key head for all query heads that share it, so keys and values are read once. First each
of its threads computes the scores of one position; after the only barrier, each thread sums the values of every so many
positions, four columns wide. Parts are written by each of these teams of threads, so that they need no second barrier.

Assumes: head_dim is a multiple of 4; the cache has one sequence in this call, of at most `context` positions.
"""

from functools import cache

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.attention_shape import PAGE, AttentionShape

THREADS = 128
_MOST_SPANS = 128
_MOST_TEAMS = 8
_LEAST = -5e4
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


def parts_shape(shape: AttentionShape) -> tuple[int, int, int]:
    """Shape of the float32 buffer between the two kernels: sums of values, then largest score and sum."""
    return shape.heads, most_spans(shape) * teams(shape), shape.head_dim + ks.LANES


@cache
def attend_kernel(shape: AttentionShape) -> tirx.PrimFunc:
    """q (1, heads, D), positions (1,), page table (pages,), pages to parts; see `parts_shape`."""
    return ks.build(lambda: _Attend(shape).define())


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
            self.scores = ks.shared((self.heads * self.span,), "float32")
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

    def _at(self, kind: int, position: tirx.Expr, column: tirx.Expr) -> tirx.Expr:
        """Four columns of a key (0) or value (1)."""
        page = self.table[position // PAGE]
        return ks.vector(self.pages, page, kind, self.kv_head, position % PAGE, column * ks.LANES)

    def _score(self, start: tirx.Expr, inside: tirx.Expr, begin: int) -> None:
        at = begin + self.thread % self.span
        share = self.thread // self.span if self.sharing > 1 else 0
        with ks.when(at < inside):
            dots, key = ks.local(self.own_heads * ks.LANES), ks.local(ks.LANES)
            for own in ks.each(self.own_heads):
                ks.store(dots, ks.spread(ks.f32(0.0)), ks.four(own * ks.LANES))
            for column in ks.each(self.columns):
                ks.store(key, self._at(0, start + at, column), ks.four(0))
                for own in ks.each(self.own_heads):
                    head = self.first_head + tirx.min(share * self.own_heads + own, self.heads - 1)
                    query = ks.vector(self.q, 0, head, column * ks.LANES)
                    ks.store(dots, ks.vector(dots, own * ks.LANES) + ks.vector(key, 0) * query, ks.four(own * ks.LANES))
            for own in ks.each(self.own_heads):
                head = share * self.own_heads + own
                score = ks.across(dots, own * ks.LANES) * ks.f32(self.shape.scale * _LOG2_E)
                if self.shape.window is not None:
                    seen = self.position - (start + at) < self.shape.window
                    score = tirx.Select(seen, score, ks.f32(2 * _LEAST))
                with ks.when(True if self.heads == self.own_heads * self.sharing else head < self.heads):
                    ks.store(self.scores, score, head * self.span + at)

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
                        ks.store(ends, self.state[2 * head + i] if i < 2 else ks.f32(0.0), i)
                    ks.store(self.parts, ks.vector(ends, 0), *where, ks.four(self.shape.head_dim))


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
