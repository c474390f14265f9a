"""Compares sliding windows of compiled models with PyTorch, where prompts are longer than window and chunk."""

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.tiny_models import CASES, Case, relative
from tests.parity.conftest import Agent, MakeAgent

pytestmark = pytest.mark.browser

WINDOW = 8
(BASE,) = (case for case in CASES if case.name == "gemma3_text")
NARROW = Case("narrow", BASE.architecture, {**BASE.shape, "sliding_window": WINDOW}, BASE.seed)
TOLERANCE = {"q0f32": 1e-4, "q4f32_1": 1e-3}


def _embed(agent: Agent, positions: int) -> NDArray[np.float32]:
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    return np.random.default_rng(3).normal(size=(1, positions, size)).astype(np.float32)


def _pieces(agent: Agent, embed: NDArray[np.float32], ends: list[int]) -> NDArray[np.float32]:
    cache, parts, start = agent.library.kv_cache(), [], 0
    for end in ends:
        parts.append(cache.forward("get_last_hidden", embed[:, start:end], agent.params))
        start = end
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("scheme", TOLERANCE)
def test_a_prompt_longer_than_window_and_chunk_is_read_like_pytorch(make_agent: MakeAgent, scheme: str) -> None:
    agent = make_agent(NARROW, scheme)
    assert agent.library.metadata["prefill_chunk_size"] == WINDOW
    embed = _embed(agent, 45)
    hidden = _pieces(agent, embed, [8, 16, 24, 32, 40, 45])
    assert relative(hidden, agent.hidden_states(embed)) < TOLERANCE[scheme]


@pytest.mark.parametrize("schedule", ["software", "gpu"])
def test_decoding_across_the_window_and_chunks_of_any_size(make_agent: MakeAgent, schedule: str) -> None:
    agent = make_agent(NARROW, "q0f32", schedule)
    embed = _embed(agent, 60)
    hidden = _pieces(agent, embed, [5, 6, 7, 8, 9, 10, 18, 19, 27, 34, *range(35, 53), 60])
    expected = agent.hidden_states(embed)
    errors = [relative(hidden[:, at], expected[:, at]) for at in range(60)]
    assert max(errors) < 1e-5, np.round(errors, 7)
    assert relative(agent.hidden_states(embed[:, 20:])[:, -1], expected[:, -1]) > 1e-3  # far positions count


def test_steps_from_the_window_on_give_the_logits_of_pytorch(make_agent: MakeAgent) -> None:
    agent = make_agent(NARROW)
    embed = _embed(agent, 30)
    cache = agent.library.kv_cache()
    for start in range(0, 24, 8):
        cache.forward("prefill", embed[:, start : start + 8], agent.params)
    for at in range(24, 30):
        got = cache.forward("decode", embed[:, at : at + 1], agent.params)
    assert relative(got, agent.logits(agent.hidden_states(embed))[:, -1:]) < 1e-4


def test_steps_across_a_window_of_several_spans(make_agent: MakeAgent) -> None:
    agent = make_agent(Case("wide", BASE.architecture, {**BASE.shape, "sliding_window": 48}, BASE.seed))
    embed = _embed(agent, 66)
    cache = agent.library.kv_cache()
    parts = [cache.forward("prefill", embed[:, :40], agent.params)]
    parts += [cache.forward("decode", embed[:, at : at + 1], agent.params) for at in range(40, 66)]
    expected = agent.logits(agent.hidden_states(embed))[:, 39:]
    assert relative(np.concatenate(parts, axis=1), expected) < 1e-4
