"""Compares the kernels of attention with numpy, each called by itself on a cache whose pages are in disorder.

Everything in the cache that a call must not read holds large values, so a kernel that reads it is found.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm import relax, tirx

from harness.libraries import Libraries, Library, Shape
from recursivemas.compiler.kernels.append import append_kernel
from recursivemas.compiler.kernels.attention_shape import PAGE, AttentionShape
from recursivemas.compiler.kernels.decode_attention import attend_kernel, merge_kernel, parts_shape
from recursivemas.compiler.kernels.prefill_attention import prefill_kernel, software_prefill_kernel
from recursivemas.compiler.library import link_library
from recursivemas.compiler.pipeline import build_executable, webgpu_target
from recursivemas.compiler.relax_functions import define
from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.shaders import shaders_of
from tests.parity.emulated_subgroups import emulated_subgroups

pytestmark = pytest.mark.browser
Array = NDArray[np.float32]
Integers = NDArray[np.int32]

TOLERANCE = 1e-4
LENGTHS = (1, 33, 129, 700)
PAST = 21  # Positions before a later chunk of a prompt: a page and a part of one.
CONTEXT = 736
UNWRITTEN = 1e3
# The software adapter's subgroups have 4 threads; larger ones are emulated.
SUBGROUP_SIZES = (None, 4, 32)


def _shape(heads: int, kv_heads: int, head_dim: int, **others: Any) -> AttentionShape:
    made = AttentionShape(heads, kv_heads, head_dim, "float32", head_dim**-0.5, CONTEXT, head_dim)
    return replace(made, **{"query_stride": head_dim, **others})


SHAPES = {
    # Spans of 32 positions, and of 128.
    "groups_of_six": _shape(12, 2, 32),
    "groups_of_two": _shape(12, 6, 16),
    # Two workgroups share a key head.
    "groups_of_twelve": _shape(12, 1, 8),
    "window": _shape(4, 2, 16, window=40),
}
APPENDED = {
    "rope": _shape(4, 2, 32),
    "norms": _shape(6, 2, 64, eps=1e-6),
    "wide_heads": _shape(2, 1, 256, eps=1e-6),
    "half_turned_beside_gates": _shape(4, 2, 32, eps=1e-6, zero_centred=True, rotary_dim=16, query_stride=64),
    "second_table": _shape(4, 2, 32, table=1),
}
PREFILLS: dict[str, Callable[[AttentionShape], tirx.PrimFunc]] = {
    "prefill": prefill_kernel,
    "software_prefill": lambda shape: software_prefill_kernel(**asdict(shape)),
}
POSITIONS = np.array([0, 1, 20, 4095, 12_000], np.int32)


@pytest.fixture(scope="module")
def library(libraries: Libraries, files: Path) -> Callable[[int | None], Library]:
    """A library with a function for each kernel and shape, by the size of the subgroups that it uses."""
    loaded: dict[int | None, Library] = {}

    def load(subgroup_size: int | None) -> Library:
        if subgroup_size not in loaded:
            wasm = _compiled(files / f"attention-{subgroup_size}.wasm", subgroup_size)
            emulated = subgroup_size is not None and subgroup_size > libraries.adapter["subgroup_size"]
            with emulated_subgroups(libraries) if emulated else nullcontext():
                loaded[subgroup_size] = libraries.load(wasm)
        return loaded[subgroup_size]

    return load


def _compiled(out: Path, subgroup_size: int | None) -> Path:
    builder = relax.BlockBuilder()
    for name, shape in APPENDED.items():
        _define_append(builder, f"append_{name}", shape)
    for name, shape in SHAPES.items():
        _define_decode(builder, f"decode_{name}", shape)
        if subgroup_size is None:  # Prompts have no form for subgroups.
            for form, make in PREFILLS.items():
                _define_prefill(builder, f"{form}_{name}", shape, make(shape))
    ours = {"hidden_size": 1, "vocab_size": 1, "dtype": "float32"}
    metadata = {"prefill_chunk_size": 1, "recursivemas": ours}
    executable = build_executable(
        builder.finalize(), metadata, schedule="gpu", bounds={}, target=webgpu_target(), subgroup_size=subgroup_size
    )
    shaders = shaders_of(executable.mod)
    assert any("subgroupShuffleXor" in shader.source for shader in shaders) == (subgroup_size is not None)
    link_library(executable, out, ensure_runtime())
    return out


def _tensor(name: str, *sizes: int | tirx.Var, dtype: str = "float32") -> relax.Var:
    return relax.Var(name, relax.TensorType(list(sizes), dtype))


def _pages(shape: AttentionShape) -> relax.Var:
    return _tensor("pages", tirx.Var("pages_count", "int64"), 2, shape.kv_heads, PAGE, shape.head_dim)


def _define_append(builder: relax.BlockBuilder, name: str, shape: AttentionShape) -> None:
    count, kernel = tirx.Var("count", "int64"), builder.add_func(append_kernel(shape), "append")
    arguments = [
        _tensor("qkv", count, shape.columns),
        _tensor("at", count, dtype="int32"),
        _tensor("slots", count, dtype="int32"),
        _tensor("frequencies", 2, shape.rotary_dim // 2),
        _pages(shape),
        *(_tensor(each, shape.head_dim) for each in ("q_norm", "k_norm") if shape.eps is not None),
    ]
    queries = relax.TensorType([count, shape.heads, shape.head_dim], shape.dtype)
    types = [arguments[4].ty, queries]
    call = relax.op.call_tir_inplace(kernel, arguments, [4, -1], types)
    define(builder, name, arguments, partial(builder.emit, call))


def _define_decode(builder: relax.BlockBuilder, name: str, shape: AttentionShape) -> None:
    attend, merge = (
        builder.add_func(attend_kernel(shape), "decode_attention"),
        builder.add_func(merge_kernel(shape), "decode_attention_merge"),
    )
    at = _tensor("at", 1, dtype="int32")
    arguments = [
        _tensor("q", 1, shape.heads, shape.head_dim),
        at,
        _tensor("table", tirx.Var("table_pages", "int64"), dtype="int32"),
        _pages(shape),
    ]

    def body() -> relax.Expr:
        parts = builder.emit(relax.call_tir(attend, arguments, relax.TensorType(parts_shape(shape), "float32")))
        return builder.emit(relax.call_tir(merge, [parts, at], arguments[0].ty))

    define(builder, name, arguments, body)


def _define_prefill(builder: relax.BlockBuilder, name: str, shape: AttentionShape, made: tirx.PrimFunc) -> None:
    kernel = builder.add_func(made, "prefill_attention")
    count, past = tirx.Var("count", "int64"), tirx.Var("past", "int64")
    arguments = [
        _tensor("q", count, shape.heads, shape.head_dim),
        _tensor("slots", count, dtype="int32"),
        _tensor("table", tirx.Var("table_pages", "int64"), dtype="int32"),
        _pages(shape),
    ]
    first = relax.prim_value(tirx.Cast("int32", past))
    call = relax.call_tir(kernel, [*arguments, first], arguments[0].ty)
    define(builder, name, [*arguments, relax.Var("first", relax.ShapeType([past]))], partial(builder.emit, call))


class _Cache:
    """The keys and values (2, positions, key heads, D) of a sequence, and a cache whose pages are in disorder.

    Attributes:
        written: Keys and values in order.
        table: The page of every 16 positions.
        slots: The place in the cache of every position.
        pages: The cache.
    """

    def __init__(self, shape: AttentionShape, positions: int) -> None:
        random = np.random.default_rng(positions)
        used = -(-positions // PAGE)
        count = used + 3
        self.written: Array = random.normal(size=(2, positions, shape.kv_heads, shape.head_dim)).astype(np.float32)
        self.table: Integers = random.permutation(count)[:used].astype(np.int32)
        at = np.arange(positions)
        self.slots: Integers = (self.table[at // PAGE] * PAGE + at % PAGE).astype(np.int32)
        self.pages: Array = np.full((count, 2, shape.kv_heads, PAGE, shape.head_dim), UNWRITTEN, np.float32)
        self.pages[self.slots // PAGE, :, :, self.slots % PAGE] = self.written.swapaxes(0, 1)


def _queries(shape: AttentionShape, positions: int) -> Array:
    random = np.random.default_rng(positions + 1)
    return (2 * random.normal(size=(positions, shape.heads, shape.head_dim))).astype(np.float32)


def _attended(shape: AttentionShape, q: Array, written: Array, first: int) -> NDArray[np.float64]:
    """Softmax attention of the positions from `first` on, in float64."""
    keys, values = np.repeat(written.astype(np.float64), shape.heads // shape.kv_heads, axis=2)
    scores = np.einsum("thd,shd->hts", q.astype(np.float64), keys) * shape.scale
    behind = first + np.arange(len(q))[:, None] - np.arange(len(keys))
    scores[:, (behind < 0) | (behind >= (shape.window or CONTEXT))] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: NDArray[np.float64] = np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), values)
    return result


def _assert_close(got: NDArray[Any], expected: NDArray[Any]) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize("subgroup_size", SUBGROUP_SIZES)
@pytest.mark.parametrize("positions", LENGTHS)
@pytest.mark.parametrize("name", SHAPES)
def test_decode_attention_equals_numpy(
    library: Callable[[int | None], Library], name: str, positions: int, subgroup_size: int | None
) -> None:
    shape, last = SHAPES[name], np.array([positions - 1], np.int32)
    cache, q = _Cache(shape, positions), _queries(shape, 1)
    got = library(subgroup_size).call(f"decode_{name}", q, last, cache.table, cache.pages)
    _assert_close(got, _attended(shape, q, cache.written, positions - 1))


@pytest.mark.parametrize("past", [0, PAST])
@pytest.mark.parametrize("positions", LENGTHS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("form", PREFILLS)
def test_prefill_attention_equals_numpy(
    library: Callable[[int | None], Library], form: str, name: str, positions: int, past: int
) -> None:
    shape = SHAPES[name]
    cache, q = _Cache(shape, past + positions), _queries(shape, positions)
    got = library(None).call(f"{form}_{name}", q, cache.slots[past:], cache.table, cache.pages, Shape((past,)))
    _assert_close(got, _attended(shape, q, cache.written, past))


@pytest.mark.parametrize("subgroup_size", SUBGROUP_SIZES)
@pytest.mark.parametrize("name", APPENDED)
def test_append_equals_numpy(library: Callable[[int | None], Library], name: str, subgroup_size: int | None) -> None:
    shape, random = APPENDED[name], np.random.default_rng(7)
    qkv = (3 * random.normal(size=(len(POSITIONS), shape.columns))).astype(np.float32)
    frequencies = (1e4 ** -np.linspace(0, 1, shape.rotary_dim)).astype(np.float32).reshape(2, -1)
    pages = np.full((3, 2, shape.kv_heads, PAGE, shape.head_dim), UNWRITTEN, np.float32)
    slots = random.permutation(3 * PAGE)[: len(POSITIONS)].astype(np.int32)
    norms = [random.normal(size=shape.head_dim).astype(np.float32) for _ in range(2 if shape.eps is not None else 0)]
    got_pages, got_q = library(subgroup_size).call(f"append_{name}", qkv, POSITIONS, slots, frequencies, pages, *norms)

    q, keys, values = _heads(shape, qkv.astype(np.float64))
    if shape.eps is not None:
        q, keys = (_normalised(shape, each, gain) for each, gain in zip((q, keys), norms, strict=True))
    # Angles are float32, as PyTorch's are.
    angles = (POSITIONS.astype(np.float32)[:, None] * frequencies[shape.table]).astype(np.float64)[:, None]
    expected = pages.astype(np.float64)
    written = np.stack([_turned(keys, angles), values], axis=1)
    expected[slots // PAGE, :, :, slots % PAGE] = written
    _assert_close(got_q, _turned(q, angles))
    _assert_close(got_pages, expected)


def _heads(shape: AttentionShape, qkv: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Queries, keys and values (T, heads, D) of the fused projection."""
    q, keys, values = np.split(
        qkv, np.cumsum([shape.heads * shape.query_stride, shape.kv_heads * shape.head_dim]), axis=1
    )
    first = q.reshape(len(qkv), shape.heads, shape.query_stride)[..., : shape.head_dim]
    return first, *(each.reshape(len(qkv), shape.kv_heads, shape.head_dim) for each in (keys, values))


def _normalised(shape: AttentionShape, x: NDArray[np.float64], gain: Array) -> NDArray[np.float64]:
    result: NDArray[np.float64] = x / np.sqrt((x * x).mean(-1, keepdims=True) + (shape.eps or 0))
    return result * (gain + shape.zero_centred)


def _turned(x: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """RoPE of the first values of each head, (T, heads, D), in halves."""
    half = angles.shape[-1]
    one, other, kept = np.split(x, [half, 2 * half], axis=-1)
    sine, cosine = np.sin(angles), np.cos(angles)
    return np.concatenate([one * cosine - other * sine, other * cosine + one * sine, kept], axis=-1)
