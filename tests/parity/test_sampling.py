"""Compares choosing tokens in Chromium with numpy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.parity.conftest import Agent

pytestmark = pytest.mark.browser
Array = NDArray[np.float32]


def _logits(agent: Agent, seed: int) -> Array:
    vocab = agent.library.metadata["recursivemas"]["vocab_size"]
    return (4 * np.random.default_rng(seed).normal(size=(1, vocab))).astype(np.float32)


def _softmax(logits: Array, temperature: float) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    probs: NDArray[np.float64] = exponentials / exponentials.sum()
    return probs


def test_argmax_finds_the_first_of_the_largest(any_agent: Agent) -> None:
    for logits in (_logits(any_agent, 0), -np.abs(_logits(any_agent, 1)) - 3, np.full_like(_logits(any_agent, 2), -7)):
        assert any_agent.library.call("argmax", logits[None]).tolist() == [int(logits.argmax())]
    for where in ([0], [1030], [511, 512], [3, 1029]):
        logits = _logits(any_agent, 3)
        logits[0, where] = 99
        assert any_agent.library.call("argmax", logits[None]).tolist() == [where[0]]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_softmax_with_temperature_equals_numpy(any_agent: Agent, temperature: float) -> None:
    logits = _logits(any_agent, 4)
    probs = any_agent.library.call("softmax_with_temperature", logits[None], np.array([temperature], np.float32))
    np.testing.assert_allclose(probs[0], _softmax(logits, temperature), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_softmax_at_temperature_zero_chooses_the_largest(any_agent: Agent, temperature: float) -> None:
    logits = _logits(any_agent, 5)
    probs = any_agent.library.call("softmax_with_temperature", logits[None], np.array([temperature], np.float32))
    expected = np.zeros_like(logits)
    expected[0, logits.argmax()] = 1
    np.testing.assert_array_equal(probs[0], expected)


def test_argsort_probs_sorts_stably_from_the_largest(any_agent: Agent) -> None:
    probs = _softmax(_logits(any_agent, 6), 1.0).astype(np.float32)
    probs[0, 100:300] = probs[0, 17]
    ordered, indices = any_agent.library.call("argsort_probs", probs)
    np.testing.assert_array_equal(indices, np.argsort(-probs, axis=1, kind="stable"))
    np.testing.assert_array_equal(ordered, np.take_along_axis(probs, indices, axis=1))
    assert indices.dtype == np.int32


@pytest.mark.parametrize("top_p", [1e-5, 0.5, 0.9, 1.0])
def test_sample_with_top_p_draws_from_the_smallest_sufficient_set(any_agent: Agent, top_p: float) -> None:
    probs = _softmax(_logits(any_agent, 7), 1.0)
    indices = np.argsort(-probs, axis=1, kind="stable").astype(np.int32)
    ordered = np.take_along_axis(probs, indices, axis=1).astype(np.float32)
    sums = np.cumsum(ordered[0].astype(np.float64))
    kept = min(int(np.searchsorted(sums, top_p)) + 1, sums.size)
    bounds = sums[:kept] / sums[kept - 1]
    draws = np.concatenate([[0.0, 0.999999], np.random.default_rng(8).random(30)]).astype(np.float32)
    # A draw proves nothing if it is so near a bound that float32 may decide either way.
    draws = np.array([u for u in draws if np.abs(bounds[:-1] - u).min(initial=1) > 1e-5], np.float32)
    assert draws.size > 20
    rows = np.zeros(draws.size, np.int32)
    got = any_agent.library.call("sample_with_top_p", ordered, indices, draws, rows, np.array([top_p], np.float32))
    expected = indices[0, np.minimum(np.searchsorted(bounds, draws, side="right"), kept - 1)]
    np.testing.assert_array_equal(got, expected)


def test_apply_logit_bias_inplace_adds(any_agent: Agent) -> None:
    logits = _logits(any_agent, 9)
    uploaded = any_agent.library.upload(logits)
    tokens, bias = np.array([5, 1030, 0], np.int32), np.array([1.5, -100, 3], np.float32)
    any_agent.library.call("apply_logit_bias_inplace", uploaded, np.zeros(3, np.int32), tokens, bias)
    logits[0, tokens] += bias
    np.testing.assert_array_equal(any_agent.library.read(uploaded), logits)


def test_apply_penalty_inplace_penalises_what_was_written(any_agent: Agent) -> None:
    logits = _logits(any_agent, 10)
    uploaded = any_agent.library.upload(logits)
    tokens, counts = np.array([7, 700, 12, 1], np.int32), np.array([1, 4, 2, 9], np.int32)
    presence, frequency, repetition = 0.5, 0.25, 1.3
    any_agent.library.call(
        "apply_penalty_inplace",
        uploaded,
        np.zeros(1, np.int32),
        np.zeros(4, np.int32),
        tokens,
        counts,
        np.array([[presence, frequency, repetition]], np.float32),
    )
    lowered = logits[0, tokens] - (presence + counts * frequency)
    logits[0, tokens] = np.where(lowered < 0, lowered * repetition, lowered / repetition)
    np.testing.assert_allclose(any_agent.library.read(uploaded), logits, rtol=1e-6)


def test_apply_bitmask_inplace_forbids_tokens(any_agent: Agent) -> None:
    logits = _logits(any_agent, 11)
    uploaded = any_agent.library.upload(logits)
    allowed = np.random.default_rng(12).random(logits.shape[1]) < 0.5
    bits = np.packbits(np.pad(allowed, (0, -allowed.size % 32)), bitorder="little").view(np.int32)[None]
    any_agent.library.call("apply_bitmask_inplace", uploaded, np.zeros(1, np.int32), bits)
    got = any_agent.library.read(uploaded)
    np.testing.assert_array_equal(got[0, allowed], logits[0, allowed])
    assert (got[0, ~allowed] < -3.4e38).all()
