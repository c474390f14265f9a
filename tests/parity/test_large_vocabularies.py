"""Compares the kernels that choose tokens with numpy for vocabularies of several blocks, which no tiny model has.

9,001 values are three blocks, the last of them not full, and four passes of the sort; 151,936, the vocabulary of Qwen3,
are 38 blocks and five passes.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm import relax

from harness.libraries import Libraries, Library
from recursivemas.compiler.kernels import argmax, nucleus, softmax
from recursivemas.compiler.library import link_library
from recursivemas.compiler.pipeline import build_executable, webgpu_target
from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.sampling import add_sampling

pytestmark = pytest.mark.browser
Array = NDArray[np.float32]

BORDER = argmax.BLOCK
ROWS = 2
MASKED = np.finfo(np.float32).min
"""What `apply_bitmask_inplace` writes for a token that is not allowed."""


@pytest.fixture(scope="module", params=[9001, pytest.param(151936, marks=pytest.mark.slow)])
def vocabulary(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.fixture(scope="module")
def library(vocabulary: int, libraries: Libraries, files: Path) -> Library:
    """A library that has only the functions that choose tokens."""
    builder = relax.BlockBuilder()
    add_sampling(builder, vocabulary)
    ours = {"hidden_size": 1, "vocab_size": vocabulary, "dtype": "float32"}
    metadata = {"prefill_chunk_size": 1, "recursivemas": ours}
    executable = build_executable(builder.finalize(), metadata, schedule="gpu", bounds={}, target=webgpu_target())
    out = files / f"sampling-{vocabulary}.wasm"
    link_library(executable, out, ensure_runtime())
    return libraries.load(out)


def _logits(vocabulary: int, seed: int) -> Array:
    """(ROWS, V), of which the first row is masked in a whole block and in the values beside it."""
    logits = (4 * np.random.default_rng(seed).normal(size=(ROWS, vocabulary))).astype(np.float32)
    logits[0, BORDER - 1 : 2 * BORDER + 1] = MASKED
    return logits


def _softmax(logits: Array, temperature: NDArray[np.floating]) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature[:, None]
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probs


def test_every_kernel_has_several_blocks(vocabulary: int) -> None:
    assert {argmax.BLOCK, softmax.BLOCK, nucleus.BLOCK} == {BORDER}
    assert vocabulary > 2 * BORDER
    assert vocabulary % BORDER


def test_argmax_finds_the_first_of_the_largest(library: Library, vocabulary: int) -> None:
    last = vocabulary - 1
    for where in ([BORDER - 1, BORDER], [BORDER, BORDER + 1], [2 * BORDER - 1, last], [last], [0, BORDER, last]):
        for logits in (_logits(vocabulary, 0)[1], np.full(vocabulary, -7, np.float32), _logits(vocabulary, 0)[0]):
            logits[where] = 99
            assert library.call("argmax", logits[None, None]).tolist() == [where[0]]
    for row in _logits(vocabulary, 1):
        assert library.call("argmax", row[None, None]).tolist() == [int(row.argmax())]


def test_softmax_with_temperature_equals_numpy(library: Library, vocabulary: int) -> None:
    logits, temperature = _logits(vocabulary, 2), np.array([0.7, 2.5], np.float32)
    probs = library.call("softmax_with_temperature", logits[:, None], temperature)
    expected = _softmax(logits, temperature)
    np.testing.assert_allclose(probs[:, 0], expected, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(probs.sum(axis=-1, dtype=np.float64), 1, rtol=1e-5)
    flat = library.call("softmax_with_temperature", np.zeros_like(logits)[:, None], temperature)
    np.testing.assert_allclose(flat, 1 / vocabulary, rtol=1e-5)


def test_argsort_probs_sorts_stably_from_the_largest(library: Library, vocabulary: int) -> None:
    probs = _softmax(_logits(vocabulary, 3), np.ones(ROWS)).astype(np.float32)
    probs[1, BORDER - 200 : BORDER + 200] = probs[1, 17]
    probs[1, -5:] = probs[1, 17]
    ordered, indices = library.call("argsort_probs", probs)
    np.testing.assert_array_equal(indices, np.argsort(-probs, axis=1, kind="stable"))
    np.testing.assert_array_equal(ordered, np.take_along_axis(probs, indices, axis=1))


@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 1e9])
def test_sample_with_top_p_draws_from_the_smallest_sufficient_set(
    library: Library, vocabulary: int, temperature: float, top_p: float
) -> None:
    """A temperature of 1e9 makes all values that are not masked equal, so that draws fall into every block."""
    logits = _logits(vocabulary, 4)[::-1] if temperature == 1.0 else np.zeros((ROWS, vocabulary), np.float32)
    probs = _softmax(logits, np.array([temperature] * ROWS))
    indices = np.argsort(-probs, axis=1, kind="stable").astype(np.int32)
    ordered = np.take_along_axis(probs, indices, axis=1).astype(np.float32)
    draws = np.concatenate([[0.0, 0.999999], np.random.default_rng(5).random(62)]).astype(np.float32)
    rows = (np.arange(draws.size) % ROWS).astype(np.int32)
    top = np.array([top_p] * ROWS, np.float32)
    got = library.call("sample_with_top_p", ordered, indices, draws, rows, top)
    ranks = np.argsort(indices, axis=1)[rows, got]
    # float32 may decide either way where a draw is as near a bound as this.
    near = 1e-5
    sums = np.cumsum(ordered.astype(np.float64), axis=1)
    before = np.where(ranks > 0, sums[rows, ranks - 1], 0)
    mass = sums[np.arange(ROWS), np.minimum((sums < top_p).sum(axis=1), vocabulary - 1)]
    assert (before <= top_p + near).all()
    assert (before <= draws * mass[rows] + near).all()
    assert (sums[rows, ranks] >= draws * mass[rows] - near).all()
    assert len(set(ranks // BORDER)) > (1 if temperature == 1e9 else 0)
