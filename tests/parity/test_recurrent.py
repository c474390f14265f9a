"""Compares the recurrent state of compiled models with PyTorch: chunks, steps, clearing and copying, in Chromium."""

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.tiny_models import CASES, relative
from recursivemas.compiler.models.delta_rule import CHUNK
from tests.parity.conftest import Agent, MakeAgent

pytestmark = pytest.mark.browser

(CASE,) = (case for case in CASES if case.name == "qwen3_5")
TOLERANCE = 1e-4


@pytest.fixture
def agent(make_agent: MakeAgent) -> Agent:
    return make_agent(CASE)


def _embed(agent: Agent, positions: int) -> NDArray[np.float32]:
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    return np.random.default_rng(2).normal(size=(1, positions, size)).astype(np.float32)


def test_a_prompt_longer_than_a_prefill_chunk_is_read_on(agent: Agent) -> None:
    embed = _embed(agent, 150)
    cache = agent.library.kv_cache()
    pieces = [(0, 64), (64, 128), (128, 150)]
    parts = [cache.forward("get_last_hidden", embed[:, start:end], agent.params) for start, end in pieces]
    assert relative(np.concatenate(parts, axis=1), agent.hidden_states(embed)) < TOLERANCE


def test_steps_agree_with_chunks(agent: Agent) -> None:
    embed = _embed(agent, CHUNK + 9)
    chunked, stepped = agent.library.kv_cache(), agent.library.kv_cache()
    expected = chunked.forward("prefill", embed, agent.params)
    for position in range(embed.shape[1]):
        got = stepped.forward("decode", embed[:, position : position + 1], agent.params)
    assert relative(got, expected) < 1e-5
    for one, other in zip(agent.library.read(chunked.state[0]), agent.library.read(stepped.state[0]), strict=True):
        assert relative(one, other) < 1e-5


def test_a_cleared_state_is_that_of_a_new_turn(agent: Agent) -> None:
    embed = _embed(agent, 20)
    used, fresh = agent.library.kv_cache(), agent.library.kv_cache()
    used.forward("latent_prefill", embed, agent.params)
    (state,) = used.state
    assert all(np.any(tensor) for tensor in agent.library.read(state))
    agent.library.hold("clear_recurrent_state", state)
    assert not any(np.any(tensor) for tensor in agent.library.read(state))
    fresh.state = [state]
    hidden = fresh.forward("latent_prefill", embed, agent.params)
    assert relative(hidden, agent.hidden_states(embed)[:, -1:]) < TOLERANCE


def test_a_copied_state_goes_on_from_where_it_was_copied(agent: Agent) -> None:
    embed = _embed(agent, 41)
    cache, other = agent.library.kv_cache(), agent.library.kv_cache()
    for each in (cache, other):
        each.forward("latent_prefill", embed[:, :30], agent.params)
    kept = agent.library.hold("create_recurrent_state")
    agent.library.hold("copy_recurrent_state", cache.state[0], kept)
    before = [np.array(tensor) for tensor in agent.library.read(kept)]
    cache.forward("latent_prefill", embed[:, :7], agent.params)
    np.testing.assert_equal(agent.library.read(kept), before)
    other.state = [kept]
    hidden = other.forward("get_last_hidden", embed[:, 30:], agent.params)
    assert relative(hidden, agent.hidden_states(embed)[:, 30:]) < TOLERANCE


def test_latent_steps_move_the_state_on(agent: Agent) -> None:
    embed = _embed(agent, 20)
    size = embed.shape[2]
    link = [np.zeros((8, size)), np.zeros(8), np.zeros((size, 8)), np.zeros(size)]  # R_in is the identity.
    arguments = [agent.params, [each.astype(np.float32) for each in link]]
    cache, rows = agent.library.kv_cache(), [embed]
    hidden = cache.forward("latent_prefill", embed, agent.params)
    for _ in range(3):
        rows.append(hidden)
        hidden = cache.forward("latent_step_paper", hidden, *arguments)
    assert relative(hidden, agent.hidden_states(np.concatenate(rows, axis=1))[:, -1:]) < TOLERANCE


def test_the_metadata_say_how_large_the_state_is(agent: Agent) -> None:
    ours = agent.library.metadata["recursivemas"]
    state = agent.library.read(agent.library.kv_cache().state[0])
    assert ours["recurrent_state_bytes"] == sum(tensor.nbytes for tensor in state)
    assert {"create_recurrent_state", "clear_recurrent_state", "copy_recurrent_state"} <= set(ours["functions"])
