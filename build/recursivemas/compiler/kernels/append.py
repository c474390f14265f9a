"""Norms of queries and keys, RoPE, and writing keys and values into the KV cache: one kernel between the projection and
the attention.

A thread owns a pair of values that RoPE turns together, or a pair that stays. With norms, the threads of a head share
their squares through workgroup memory, with one barrier; without, there is none. With subgroups, threads exchange their
squares first, and a head whose threads lie in one subgroup needs neither.

Source: RoFormer, equation 34, with the halves of a head paired as in transformers' `rotate_half`. Sine and cosine are
Cephes's `sinf` and `cosf`, because WGSL promises an absolute error of 2 ** -11 within [-pi, pi] and nothing beyond.

Assumes: head_dim is even, and angles stay below 2 ** 13 quarter turns.
"""

from dataclasses import asdict
from functools import cache
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from recursivemas.compiler.kernels import script as ks
from recursivemas.compiler.kernels.attention_shape import PAGE, AttentionShape
from recursivemas.compiler.kernels.forms import described
from recursivemas.compiler.kernels.subgroups import combine_lanes, width_of
from recursivemas.compiler.models.attention_kernels import (
    COSINE,
    QUARTERS_PER_RADIAN,
    SINE,
    less_quarter_turns,
    polynomial,
)

_THREADS = 64


@cache
def append_kernel(shape: AttentionShape) -> tirx.PrimFunc:
    """qkv (T, columns), positions (T,), slots (T,), frequencies (kinds, pairs), pages, norm weights to q (T, heads, D).

    A slot is a place in the cache: page * 16 + place in the page. Norm weights are two arguments, if there are norms.
    """
    return described(ks.build(lambda: _define(shape, 1)), "append", **asdict(shape))


def append_kernel_with_subgroups(subgroup_size: int, **shape: Any) -> tirx.PrimFunc:
    """Its form for subgroups of at least so many threads."""
    return ks.build(lambda: _define(AttentionShape(**shape), subgroup_size))


def _define(shape: AttentionShape, subgroup_size: int) -> None:
    width, half = shape.head_dim, shape.head_dim // 2
    pairs, heads = shape.rotary_dim // 2, shape.heads + 2 * shape.kv_heads
    count, kinds = ks.size("positions"), ks.size("kinds")
    qkv = ks.argument("qkv", (count, shape.columns), shape.dtype)
    positions = ks.argument("at", (count,), "int32", offset=True)
    slots = ks.argument("slots", (count,), "int32", offset=True)
    frequencies = ks.argument("frequencies", (kinds, pairs), "float32")
    pages = ks.argument("pages", (ks.size("pages_count"), 2, shape.kv_heads, PAGE, width), shape.dtype)
    norms = [ks.argument(name, (width,), shape.dtype) for name in ("q_norm", "k_norm")] if shape.eps is not None else []
    q = ks.argument("q", (count, shape.heads, width), shape.dtype)
    together = max(1, _THREADS // half)  # heads of a workgroup
    threads = together * half
    with ks.launch([(count * heads + together - 1) // together], threads) as (block, thread):
        unit = block * together + thread // half
        inside = unit < count * heads
        at = tirx.min(unit, count * heads - 1)
        t, head, d = at // heads, at % heads, thread % half
        first = d if pairs == half else d + tirx.Select(d < pairs, 0, pairs)
        second = d + half if pairs == half else d + tirx.Select(d < pairs, pairs, half)
        pair, turned = ks.local(2), ks.local(2)
        column = _column(shape, head)
        ks.store(pair, ks.wide(qkv[t, column + first]), 0)
        ks.store(pair, ks.wide(qkv[t, column + second]), 1)
        is_query, is_value = head < shape.heads, head >= shape.heads + shape.kv_heads
        if norms:
            square = _sum_of_squares(pair, thread, half, threads, width_of(subgroup_size, half))
            _normalise(shape, norms, pair, square, is_query, is_value, first, second)
        with ks.when(tirx.all(tirx.Not(is_value), d < pairs)):
            sine, cosine = _turn(ks.wide(positions[t]) * frequencies[shape.table, tirx.min(d, pairs - 1)])
            ks.store(turned, pair[0] * cosine - pair[1] * sine, 0)
            ks.store(turned, pair[1] * cosine + pair[0] * sine, 1)
            ks.store(pair, turned[0], 0)
            ks.store(pair, turned[1], 1)
        with ks.when(inside), T.If(is_query):
            with T.Then():
                for place, index in enumerate((first, second)):
                    ks.store(q, pair[place].astype(shape.dtype), t, tirx.min(head, shape.heads - 1), index)
            with T.Else():
                _write(shape, pages, slots[t], head - shape.heads, pair, (first, second))


def _column(shape: AttentionShape, head: tirx.Expr) -> tirx.Expr:
    """Where a head begins in the fused projection."""
    if shape.query_stride == shape.head_dim:
        return head * shape.head_dim
    beyond = shape.heads * shape.query_stride + (head - shape.heads) * shape.head_dim
    return tirx.Select(head < shape.heads, head * shape.query_stride, beyond)


def _sum_of_squares(pair: tirx.Buffer, thread: tirx.Var, half: int, threads: int, width: int) -> tirx.Buffer:
    """Of a head's values, in each of its `half` threads."""
    total = ks.local(1)
    ks.store(total, pair[0] * pair[0] + pair[1] * pair[1], 0)
    combine_lanes(total, width)
    if width == half:
        return total
    squares, parts = ks.shared((threads // width,), "float32"), half // width
    with ks.when(True if width == 1 else thread % width == 0):
        ks.store(squares, total[0], thread // width)
    ks.barrier()
    ks.store(total, ks.f32(0.0), 0)
    with T.serial(parts) as i:
        ks.store(total, total[0] + squares[thread // half * parts + i], 0)
    return total


def _normalise(
    shape: AttentionShape,
    norms: list[tirx.Buffer],
    pair: tirx.Buffer,
    total: tirx.Buffer,
    is_query: tirx.Expr,
    is_value: tirx.Expr,
    first: tirx.Expr,
    second: tirx.Expr,
) -> None:
    assert shape.eps is not None
    ks.store(total, tirx.rsqrt(total[0] * ks.f32(1.0 / shape.head_dim) + ks.f32(shape.eps)), 0)
    with ks.when(tirx.Not(is_value)):
        for place, index in enumerate((first, second)):
            gain = tirx.Select(is_query, ks.wide(norms[0][index]), ks.wide(norms[1][index]))
            if shape.zero_centred:
                gain = gain + ks.f32(1.0)
            ks.store(pair, pair[place] * total[0] * gain, place)


def _turn(angle: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
    """Sine and cosine; held in registers, because TVM would repeat an expression wherever it is used."""
    quarters, near, square, turn = ks.local(1), ks.local(1), ks.local(1), ks.local(2)
    quadrant = ks.local(1, "int32")
    ks.store(near, angle, 0)
    ks.store(quarters, tirx.round(near[0] * ks.f32(QUARTERS_PER_RADIAN)), 0)
    ks.store(quadrant, tirx.bitwise_and(quarters[0].astype("int32"), 3), 0)
    ks.store(near, less_quarter_turns(near[0], quarters[0]), 0)
    ks.store(square, near[0] * near[0], 0)
    ks.store(turn, near[0] + near[0] * square[0] * polynomial(square[0], *SINE), 0)
    ks.store(turn, polynomial(square[0], *COSINE), 1)
    odd = quadrant[0] % 2 == 1
    sine = tirx.Select(odd, turn[1], turn[0])
    cosine = tirx.Select(odd, turn[0], turn[1])
    sine = tirx.Select(quadrant[0] >= 2, -sine, sine)
    return sine, tirx.Select(tirx.any(quadrant[0] == 1, quadrant[0] == 2), -cosine, cosine)


def _write(
    shape: AttentionShape,
    pages: tirx.Buffer,
    slot: tirx.Expr,
    row: tirx.Expr,
    pair: tirx.Buffer,
    indices: tuple[tirx.Expr, tirx.Expr],
) -> None:
    """Stores a key's or value's pair; rows are the key heads, then the value heads."""
    held = ks.local(1, "int32")
    ks.store(held, slot, 0)
    row = tirx.max(row, 0)
    for place, index in enumerate(indices):
        where = (held[0] // PAGE, row // shape.kv_heads, row % shape.kv_heads, held[0] % PAGE, index)
        ks.store(pages, pair[place].astype(shape.dtype), *where)
