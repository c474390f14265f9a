"""Causal attention of several positions over the KV cache, their own keys and values included.

Source: FlashAttention-2, algorithm 1: keys and values pass through workgroup memory a block at a time, and each row of
scores keeps its largest score and its sum, by which earlier sums of values are scaled.

A workgroup takes up to 32 rows, which are a few positions of all query heads that share a key head, so that a block of
keys serves all of them. Keys and then values of a block use the same memory. Blocks that no row of the workgroup may
attend to are left out.

For adapters that run on the CPU, where barriers make a shader slow to compile and to run, there is a form without
workgroup memory: a thread goes through all keys of a position and a query head by itself.

Assumes: head_dim is a multiple of 4; the cache has one sequence in this call, whose new positions follow each other.
"""

from dataclasses import asdict
from functools import cache
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.attention_shape import PAGE, AttentionShape
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.limits import PROMISED

THREADS = 128
ROWS = 32
_LEAST = -5e4
_MASKED = -1e5
_LOG2_E = 1.4426950408889634
_SOFTWARE_THREADS = 64


def block(shape: AttentionShape) -> int:
    """Positions whose keys or values are in workgroup memory at a time."""
    size = 2 if shape.dtype == "float16" else 4
    line, most = (shape.head_dim + ks.LANES) * size, PROMISED["maxComputeWorkgroupStorageSize"]
    # Keys or values, scores and weights of every row, and what scales its sums.
    needed = {each: each * line + ROWS * (each + 1) * (4 + size) + ROWS * 4 for each in (32, 16, 8, 4)}
    return next(each for each, total in needed.items() if total <= most or each == 4)


@cache
def prefill_kernel(shape: AttentionShape) -> tirx.PrimFunc:
    """q (T, heads, D), slots (T,), page table (pages,), pages, the first position, to the output (T, heads, D)."""
    return described(ks.build(lambda: _Prefill(shape).define()), "prefill_attention", **asdict(shape))


def software_prefill_kernel(**shape: Any) -> tirx.PrimFunc:
    """The form for adapters that run on the CPU."""
    return ks.build(lambda: _SoftwarePrefill(AttentionShape(**shape)).define())


class _Arguments:
    """What both forms are given."""

    def __init__(self, shape: AttentionShape) -> None:
        self.shape = shape
        self.count = ks.size("count")
        self.q = ks.argument("q", (self.count, shape.heads, shape.head_dim), shape.dtype)
        self.slots = ks.argument("slots", (self.count,), "int32", offset=True)
        self.table = ks.argument("table", (ks.size("table_pages"),), "int32", offset=True)
        pages_shape = (ks.size("pages_count"), 2, shape.kv_heads, PAGE, shape.head_dim)
        self.pages = ks.argument("pages", pages_shape, shape.dtype)
        self.past = T.arg("past", tirx.Var("past", "int32"))
        self.output = ks.argument("output", (self.count, shape.heads, shape.head_dim), shape.dtype)

    def _slot(self, position: tirx.Expr) -> tirx.Expr:
        """Where the cache has a position; the new ones need not be in the page table yet."""
        old = self.table[position // PAGE] * PAGE + position % PAGE
        return tirx.if_then_else(position < self.past, old, self.slots[position - self.past])


class _Prefill(_Arguments):
    def __init__(self, shape: AttentionShape) -> None:
        super().__init__(shape)
        self.heads = shape.shared_heads
        self.positions = ROWS // self.heads  # of a workgroup
        self.rows = self.positions * self.heads
        self.block, self.line = block(shape), shape.head_dim + ks.LANES
        self.columns = shape.head_dim // ks.LANES
        # Sums of values: a thread has four columns of every so many rows.
        self.row_step = max(1, min(ROWS, THREADS // self.columns))
        self.own_rows = -(-ROWS // self.row_step)
        # Scores: a thread has one key of every so many rows.
        self.score_step = THREADS // self.block
        self.own_scores = -(-ROWS // self.score_step)

    def define(self) -> None:
        shape = self.shape
        blocks = (self.count + self.positions - 1) // self.positions
        with ks.launch([blocks, shape.kv_heads * shape.head_splits], THREADS) as (row_block, head_block, thread):
            self.thread, self.kv_head = thread, head_block // shape.head_splits
            self.first_head, self.first_t = head_block * self.heads, row_block * self.positions
            self.lines = ks.shared((self.block * self.line,), shape.dtype)
            self.scores = ks.shared((ROWS * (self.block + 1),), "float32")
            # Apart from the scores: TVM would want a barrier between a row's own reads and writes.
            self.weights = ks.shared((ROWS * (self.block + 1),), shape.dtype)
            self.shrink = ks.shared((ROWS,), "float32")
            self.sums, self.state = ks.local(self.own_rows * ks.LANES), ks.local(2)
            for own in ks.each(self.own_rows):
                ks.store(self.sums, ks.spread(ks.f32(0.0)), ks.four(own * ks.LANES))
            ks.store(self.state, ks.f32(_LEAST), 0)
            ks.store(self.state, ks.f32(0.0), 1)
            self._walk()
            self._write()

    def _walk(self) -> None:
        """Goes through the blocks that any row attends to."""
        last = tirx.min(self.first_t + self.positions, self.count) + self.past
        first = tirx.const(0, "int32")
        if self.shape.window is not None:
            first = tirx.max(self.past + self.first_t + 1 - self.shape.window, 0) // self.block
        with T.serial((last + self.block - 1) // self.block - first) as step:
            start = (first + step) * self.block
            ks.barrier()
            self._load(0, start, last)
            ks.barrier()
            self._score(start)
            ks.barrier()
            self._load(1, start, last)
            self._normalise()
            ks.barrier()
            self._add()

    def _load(self, kind: int, start: tirx.Expr, last: tirx.Expr) -> None:
        """Copies keys (0) or values (1) of a block into workgroup memory."""
        total = self.block * self.columns
        for turn in ks.each(-(-total // THREADS)):
            at = self.thread + turn * THREADS
            with ks.when(True if total % THREADS == 0 else at < total):
                slot = ks.local(1, "int32")
                position = tirx.min(start + at // self.columns, last - 1)
                ks.store(slot, self._slot(position), 0)
                column = at % self.columns * ks.LANES
                value = self.pages[slot[0] // PAGE, kind, self.kv_head, slot[0] % PAGE, ks.four(column)]
                ks.store(self.lines, value, ks.four(at // self.columns * self.line + column))

    def _query(self, row: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        """Position among the new ones, and head, of a row."""
        return self.first_t + row // self.heads, self.first_head + row % self.heads

    def _score(self, start: tirx.Expr) -> None:
        shape = self.shape
        key_at, first_row = self.thread % self.block, self.thread // self.block
        dots, key = ks.local(self.own_scores * ks.LANES), ks.local(ks.LANES)
        for own in ks.each(self.own_scores):
            ks.store(dots, ks.spread(ks.f32(0.0)), ks.four(own * ks.LANES))
        for column in ks.each(self.columns):
            ks.store(key, ks.vector(self.lines, key_at * self.line + column * ks.LANES), ks.four(0))
            for own in ks.each(self.own_scores):
                t, head = self._query(tirx.min(first_row + own * self.score_step, self.rows - 1))
                query = ks.vector(self.q, tirx.min(t, self.count - 1), head, column * ks.LANES)
                ks.store(dots, ks.vector(dots, own * ks.LANES) + ks.vector(key, 0) * query, ks.four(own * ks.LANES))
        for own in ks.each(self.own_scores):
            row = first_row + own * self.score_step
            t, _ = self._query(row)
            behind = self.past + t - (start + key_at)
            seen = behind >= 0 if shape.window is None else tirx.all(behind >= 0, behind < shape.window)
            scaled = ks.across(dots, own * ks.LANES) * ks.f32(shape.scale * _LOG2_E)
            with ks.when(True if ROWS % self.score_step == 0 else row < ROWS):
                score = tirx.Select(seen, scaled, ks.f32(_MASKED))
                ks.store(self.scores, score, row * (self.block + 1) + key_at)

    def _normalise(self) -> None:
        """One thread a row: its scores become weights, and it notes how earlier sums shrink."""
        with ks.when(self.thread < ROWS):
            begin = self.thread * (self.block + 1)
            largest, total, weight = ks.local(1), ks.local(1), ks.local(1)
            ks.store(largest, self.state[0], 0)
            with T.serial(self.block) as i:
                ks.store(largest, tirx.max(largest[0], self.scores[begin + i]), 0)
            ks.store(self.shrink, tirx.exp2(self.state[0] - largest[0]), self.thread)
            ks.store(total, self.state[1] * tirx.exp2(self.state[0] - largest[0]), 0)
            with T.serial(self.block) as i:
                ks.store(weight, tirx.exp2(self.scores[begin + i] - largest[0]), 0)
                ks.store(self.weights, weight[0].astype(self.shape.dtype), begin + i)
                ks.store(total, total[0] + weight[0], 0)
            ks.store(self.state, largest[0], 0)
            ks.store(self.state, total[0], 1)

    def _own_row(self, own: tirx.Expr) -> tirx.Expr:
        return tirx.min(self.thread // self.columns + own * self.row_step, ROWS - 1)

    def _add(self) -> None:
        """Adds a block's values, by their weights."""
        column = self.thread % self.columns
        for own in ks.each(self.own_rows):
            at = own * ks.LANES
            ks.store(self.sums, ks.vector(self.sums, at) * ks.spread(self.shrink[self._own_row(own)]), ks.four(at))
        for i in ks.each(self.block):
            value = ks.local(ks.LANES)
            ks.store(value, ks.vector(self.lines, i * self.line + column * ks.LANES), ks.four(0))
            for own in ks.each(self.own_rows):
                weight, at = ks.local(1), own * ks.LANES
                ks.store(weight, ks.wide(self.weights[self._own_row(own) * (self.block + 1) + i]), 0)
                total = ks.vector(self.sums, at) + ks.spread(weight[0]) * ks.vector(value, 0)
                ks.store(self.sums, total, ks.four(at))

    def _write(self) -> None:
        # The rows' sums pass through `shrink`, which nothing needs any more after this barrier.
        ks.barrier()
        with ks.when(self.thread < ROWS):
            ks.store(self.shrink, self.state[1], self.thread)
        ks.barrier()
        column = self.thread % self.columns * ks.LANES
        for own in ks.each(self.own_rows):
            row = self.thread // self.columns + own * self.row_step
            t, head = self._query(row)
            with ks.when(tirx.all(self.thread < self.row_step * self.columns, row < self.rows, t < self.count)):
                total = ks.spread(self.shrink[tirx.min(row, ROWS - 1)])
                made = (ks.vector(self.sums, own * ks.LANES) / total).astype(f"{self.shape.dtype}x{ks.LANES}")
                ks.store(self.output, made, t, head, ks.four(column))


class _SoftwarePrefill(_Arguments):
    def define(self) -> None:
        shape, lanes = self.shape, ks.four
        self.columns = shape.head_dim // ks.LANES
        rows = self.count * shape.heads
        with ks.launch([(rows + _SOFTWARE_THREADS - 1) // _SOFTWARE_THREADS], _SOFTWARE_THREADS) as (block, thread):
            row = block * _SOFTWARE_THREADS + thread
            with ks.when(row < rows):
                self.t, self.head = row // shape.heads, row % shape.heads
                self.sums, self.state = ks.local(shape.head_dim), ks.local(2)
                for column in ks.each(self.columns):
                    ks.store(self.sums, ks.spread(ks.f32(0.0)), lanes(column * ks.LANES))
                ks.store(self.state, ks.f32(_LEAST), 0)
                ks.store(self.state, ks.f32(0.0), 1)
                self._walk()
                for column in ks.each(self.columns):
                    made = ks.vector(self.sums, column * ks.LANES) / ks.spread(self.state[1])
                    stored = made.astype(f"{shape.dtype}x{ks.LANES}")
                    ks.store(self.output, stored, self.t, self.head, lanes(column * ks.LANES))

    def _walk(self) -> None:
        """Adds the values of all positions that the row attends to, scaled as its largest score grows."""
        shape, lanes = self.shape, ks.four
        kv_head, last = self.head // shape.group, self.past + self.t + 1
        first = tirx.const(0, "int32") if shape.window is None else tirx.max(last - shape.window, 0)
        slot, dots, weight, shrink = ks.local(1, "int32"), ks.local(ks.LANES), ks.local(1), ks.local(1)
        with T.serial(last - first) as step:
            ks.store(slot, self._slot(first + step), 0)
            ks.store(dots, ks.spread(ks.f32(0.0)), lanes(0))
            for column in ks.each(self.columns):
                key = ks.vector(self.pages, slot[0] // PAGE, 0, kv_head, slot[0] % PAGE, column * ks.LANES)
                query = ks.vector(self.q, self.t, self.head, column * ks.LANES)
                ks.store(dots, ks.vector(dots, 0) + key * query, lanes(0))
            ks.store(weight, ks.across(dots, 0) * ks.f32(shape.scale * _LOG2_E), 0)
            ks.store(shrink, self.state[0], 0)
            ks.store(self.state, tirx.max(self.state[0], weight[0]), 0)
            ks.store(shrink, tirx.exp2(shrink[0] - self.state[0]), 0)
            ks.store(weight, tirx.exp2(weight[0] - self.state[0]), 0)
            ks.store(self.state, self.state[1] * shrink[0] + weight[0], 1)
            for column in ks.each(self.columns):
                value = ks.vector(self.pages, slot[0] // PAGE, 1, kv_head, slot[0] % PAGE, column * ks.LANES)
                total = ks.vector(self.sums, column * ks.LANES) * ks.spread(shrink[0]) + ks.spread(weight[0]) * value
                ks.store(self.sums, total, lanes(column * ks.LANES))
