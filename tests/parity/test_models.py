"""Compares compiled models of every family in Chromium with PyTorch, in float32 and in 4 bits."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.tiny_models import CASES, Case, relative
from tests.parity.conftest import Agent, MakeAgent

pytestmark = pytest.mark.browser

TOLERANCE = {"q0f32": 1e-4, "q4f32_1": 1e-3}
SCHEMES = tuple(TOLERANCE)
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def _embed(agent: Agent, positions: int, seed: int = 0) -> NDArray[np.float32]:
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    return np.random.default_rng(seed).normal(size=(1, positions, size)).astype(np.float32)


@cases
@schemes
def test_embed_looks_token_ids_up(make_agent: MakeAgent, case: Case, scheme: str) -> None:
    agent = make_agent(case, scheme)
    embeddings = agent.model.get_input_embeddings()
    ids = np.array([0, embeddings.num_embeddings - 1, 3, 3, 41, 2, 50], np.int32)
    embedded = agent.library.call("embed", ids, agent.params)
    expected = embeddings(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_allclose(embedded, expected, rtol=1e-6, atol=1e-7)


@cases
@schemes
@pytest.mark.parametrize("positions", [1, 2, 16, 39])
def test_get_last_hidden_equals_pytorch(make_agent: MakeAgent, case: Case, scheme: str, positions: int) -> None:
    agent = make_agent(case, scheme)
    embed = _embed(agent, positions)
    hidden = agent.library.kv_cache().forward("get_last_hidden", embed, agent.params)
    assert relative(hidden, agent.hidden_states(embed)) < TOLERANCE[scheme]


@cases
def test_get_last_hidden_continues_a_cache(make_agent: MakeAgent, case: Case) -> None:
    agent = make_agent(case)
    embed = _embed(agent, 45)
    cache, parts, start = agent.library.kv_cache(), [], 0
    for end in (1, 18, 19, 22, 45):
        parts.append(cache.forward("get_last_hidden", embed[:, start:end], agent.params))
        start = end
    assert relative(np.concatenate(parts, axis=1), agent.hidden_states(embed)) < TOLERANCE["q0f32"]


@cases
def test_positions_far_into_the_context_keep_their_angles(make_agent: MakeAgent, case: Case) -> None:
    agent = make_agent(case)
    embed = _embed(agent, 256)
    cache = agent.library.kv_cache()
    parts = [cache.forward("get_last_hidden", embed[:, at : at + 64], agent.params) for at in range(0, 256, 64)]
    assert relative(parts[-1], agent.hidden_states(embed)[:, 192:]) < 1e-5


@cases
@schemes
def test_prefill_and_decode_give_the_logits_after_the_last_position(
    make_agent: MakeAgent, case: Case, scheme: str
) -> None:
    agent = make_agent(case, scheme)
    embed = _embed(agent, 20)
    expected = agent.logits(agent.hidden_states(embed))
    cache = agent.library.kv_cache()
    prefilled = cache.forward("prefill", embed[:, :18], agent.params)
    decoded = [cache.forward("decode", embed[:, at : at + 1], agent.params) for at in (18, 19)]
    assert prefilled.dtype == np.float32
    got = np.concatenate([prefilled, *decoded], axis=1)
    assert relative(got, expected[:, 17:]) < TOLERANCE[scheme]


@cases
@schemes
def test_lm_head_gives_the_logits_of_any_hidden_states(make_agent: MakeAgent, case: Case, scheme: str) -> None:
    agent = make_agent(case, scheme)
    rows = _embed(agent, 5)[0]
    assert relative(agent.library.call("lm_head", rows, agent.params), agent.logits(rows)) < TOLERANCE[scheme]


@cases
def test_latent_prefill_gives_the_last_position(make_agent: MakeAgent, case: Case) -> None:
    agent = make_agent(case)
    embed = _embed(agent, 21)
    hidden = agent.library.kv_cache().forward("latent_prefill", embed, agent.params)
    assert relative(hidden, agent.hidden_states(embed)[:, -1:]) < TOLERANCE["q0f32"]


# The models above are compiled as small agents are; this is how larger ones are.
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case is not CASES[0] else []) for case in CASES],
)
@schemes
def test_gpu_schedules_compute_the_same(make_agent: MakeAgent, case: Case, scheme: str) -> None:
    agent = make_agent(case, scheme, "gpu")
    embed = _embed(agent, 37)
    cache = agent.library.kv_cache()
    parts = [cache.forward("get_last_hidden", embed[:, a:b], agent.params) for a, b in ((0, 33), (33, 34), (34, 37))]
    expected = agent.hidden_states(embed)
    assert relative(np.concatenate(parts, axis=1), expected) < TOLERANCE[scheme]
    logits = agent.library.call("lm_head", expected[0, -3:], agent.params)
    assert relative(logits, agent.logits(expected[0, -3:])) < TOLERANCE[scheme]


def test_every_function_of_the_abi_is_there(any_agent: Agent) -> None:
    ours = any_agent.library.metadata["recursivemas"]
    documented = {
        *("embed", "prefill", "decode", "create_tir_paged_kv_cache", "softmax_with_temperature", "argsort_probs"),
        *("sample_with_top_p", "apply_logit_bias_inplace", "apply_penalty_inplace", "apply_bitmask_inplace"),
        *("get_last_hidden", "latent_prefill", "latent_step_paper", "latent_step_ln_res", "inner_link_paper"),
        *("inner_link_ln_res", "outer_link_paper", "outer_link_ln_res", "lm_head", "argmax"),
        *("latent_step_normed", "inner_link_normed", "outer_link_normed"),
    }
    assert set(ours["functions"]) == documented
    assert ours["link_variants"] == ["paper", "ln_res", "normed"]
