"""Compares libraries that use subgroups with PyTorch, on the software adapter, whose subgroups have 4 threads.

Larger subgroups are emulated: what the kernels exchange passes through workgroup memory then.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.libraries import Libraries
from harness.tiny_models import CASES, Case, relative
from recursivemas.system.links_file import INNER_TENSORS
from tests.parity.conftest import Agent, MakeAgent
from tests.parity.test_links import inner_link, packed, random_link
from tests.parity.test_sliding import NARROW

pytestmark = pytest.mark.browser

TOLERANCE = 1e-4
SIZE = 4
# Heads so wide that no subgroup holds the threads of one.
WIDE = Case("wide_heads", CASES[1].architecture, {**CASES[1].shape, "head_dim": 128, "num_key_value_heads": 2}, 7)
# Parts of a subgroup may be used, too, as a GPU with larger subgroups uses parts of them.
WITH_SIZES = [
    *((case, SIZE) for case in (*CASES, NARROW)),
    *((case, SIZE // 2) for case in CASES[:3]),
    *((case, 32) for case in (*CASES[:3], NARROW, WIDE)),
]
SEVERAL_SPANS = 150  # Positions; a span of the cache holds 32 or 128.


def _embed(agent: Agent, positions: int) -> NDArray[np.float32]:
    width = agent.library.metadata["recursivemas"]["hidden_size"]
    return np.random.default_rng(5).normal(size=(1, positions, width)).astype(np.float32)


def test_the_adapter_has_the_subgroups_that_these_tests_take_for_granted(libraries: Libraries) -> None:
    assert libraries.adapter["subgroup_size"] == SIZE
    assert "subgroups" in libraries.adapter["features"]


@pytest.mark.parametrize(("case", "size"), WITH_SIZES, ids=[f"{case.name}-{size}" for case, size in WITH_SIZES])
def test_steps_equal_pytorch_over_several_spans(make_agent: MakeAgent, case: Case, size: int) -> None:
    agent = make_agent(case, subgroup_size=size)
    assert agent.library.metadata["recursivemas"]["subgroup_size"] == size
    embed = _embed(agent, SEVERAL_SPANS)
    chunk = agent.library.metadata["prefill_chunk_size"]
    cache, steps, start = agent.library.kv_cache(), [], 0
    # Single positions at the beginning, around the ends of spans, and behind them.
    for at in (*range(6), *range(29, 36), *range(126, 133), SEVERAL_SPANS - 1):
        while start < at:
            end = min(at, start + chunk)
            cache.forward("get_last_hidden", embed[:, start:end], agent.params)
            start = end
        steps.append((at, cache.forward("get_last_hidden", embed[:, at : at + 1], agent.params)))
        start = at + 1
    expected = agent.hidden_states(embed)
    errors = {at: relative(hidden[:, 0], expected[:, at]) for at, hidden in steps}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packed_weights_give_the_logits_of_pytorch(make_agent: MakeAgent, case: Case) -> None:
    agent = make_agent(case, "q4f32_1", "gpu", SIZE)
    embed = _embed(agent, 20)
    cache = agent.library.kv_cache()
    cache.forward("prefill", embed[:, :18], agent.params)
    got = [cache.forward("decode", embed[:, at : at + 1], agent.params) for at in (18, 19)]
    expected = agent.logits(agent.hidden_states(embed))
    assert relative(np.concatenate(got, axis=1), expected[:, 18:]) < 1e-3


@pytest.mark.parametrize("size", [SIZE, 32])
def test_latent_steps_equal_pytorch(make_agent: MakeAgent, size: int) -> None:
    agent = make_agent(CASES[1], subgroup_size=size)
    width = agent.library.metadata["recursivemas"]["hidden_size"]
    link = random_link(INNER_TENSORS["ln_res"], width, width, 80)
    uploaded = agent.library.upload(packed(link))
    prompt = _embed(agent, 19)
    cache = agent.library.kv_cache()
    hidden = cache.forward("latent_prefill", prompt, agent.params)
    inputs = torch.from_numpy(prompt)
    for _ in range(3):
        expected = torch.from_numpy(agent.hidden_states(inputs.numpy())[:, -1:].copy())
        inputs = torch.cat([inputs, inner_link("ln_res", expected, link)], dim=1)
        hidden = cache.forward("latent_step_ln_res", hidden, agent.params, uploaded)
    assert relative(hidden, agent.hidden_states(inputs.numpy())[:, -1:]) < TOLERANCE
