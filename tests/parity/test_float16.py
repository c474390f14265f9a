"""Compares float16 libraries with PyTorch on any WebGPU adapter of this machine that has float16 (a GPU or llvmpipe).

Chromium's software adapter lacks float16, so this runs in Node with the `webgpu` package; harness/node.py says how to
give it an adapter. The schedule is that of large agents. The reference is PyTorch in float32 with the dequantized
weights; our error may be twice as large as that of PyTorch's own float16.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.half_agents import BUILDS, Half, HalfAgent, make_half_agent
from harness.libraries import Libraries
from harness.node import NoAdapterError, open_node
from harness.tiny_models import relative
from recursivemas.system.links_file import INNER_TENSORS, OUTER_TENSORS
from tests.parity.test_links import VARIANTS, _outer, inner_link, packed, random_link

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def libraries(files: Path) -> Iterator[Libraries]:
    try:
        with open_node(files, half=True) as (opened, adapter):
            print(f"float16 on {adapter}")
            yield opened
    except NoAdapterError as error:
        pytest.skip(f"float16 not run: {error}")


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: f"{build[0].name}-{build[1]}")
def agent(request: pytest.FixtureRequest, libraries: Libraries, files: Path) -> Iterator[HalfAgent]:
    made = make_half_agent(libraries, files, *request.param)
    yield made
    made.library.unload()


def _embed(agent: HalfAgent, positions: int) -> Half:
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    return np.random.default_rng(0).normal(size=(1, positions, size)).astype(np.float16)


def _close(agent: HalfAgent, embed: Half, hidden: Half, since: int = 0) -> None:
    """Compares hidden states, from one position on, with PyTorch."""
    assert hidden.dtype == np.float16
    expected = agent.hidden_states(embed)[:, since:]
    allowed = 2 * relative(agent.hidden_states(embed, half=True)[:, since:], expected)
    assert allowed < 0.02
    assert relative(hidden[:, since:].astype(np.float32), expected) < allowed


def test_get_last_hidden_is_as_close_as_float16_can_be(agent: HalfAgent) -> None:
    embed = _embed(agent, 39)
    _close(agent, embed, agent.library.kv_cache().forward("get_last_hidden", embed, agent.params))
    cache = agent.library.kv_cache()
    parts = [cache.forward("get_last_hidden", embed[:, a:b], agent.params) for a, b in ((0, 17), (17, 18), (18, 39))]
    _close(agent, embed, np.concatenate(parts, axis=1))


def test_logits_are_float32_of_float16_hidden_states(agent: HalfAgent) -> None:
    embed = _embed(agent, 20)
    hidden = agent.hidden_states(embed)[0, -3:].astype(np.float16)
    logits = agent.library.call("lm_head", hidden, agent.params)
    with torch.no_grad():
        expected = agent.model.lm_head(torch.from_numpy(hidden.astype(np.float32))).numpy()
    assert logits.dtype == np.float32
    assert relative(logits, expected) < 1e-3
    decoded = agent.library.kv_cache()
    decoded.forward("prefill", embed[:, :-1], agent.params)
    last = decoded.forward("decode", embed[:, -1:], agent.params)[0, 0]
    with torch.no_grad():
        expected = agent.model.lm_head(torch.from_numpy(agent.hidden_states(embed)[0, -1])).numpy()
    assert relative(last, expected) < 0.02


@pytest.mark.parametrize("variant", VARIANTS)
def test_links_compute_in_float32_and_round_once(agent: HalfAgent, variant: Any) -> None:
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    hidden = np.random.default_rng(1).normal(size=(5, size)).astype(np.float16)
    rows = torch.from_numpy(hidden.astype(np.float32))
    inner = random_link(INNER_TENSORS[variant], size, size, 24)
    outer = random_link(OUTER_TENSORS[variant], size, 50, 100)
    for name, link, reference in (("inner", inner, inner_link), ("outer", outer, _outer)):
        got = agent.library.call(f"{name}_link_{variant}", hidden, packed(link))
        assert got.dtype == np.float16
        # One rounding to float16 is half of 2 ** -10.
        assert relative(got.astype(np.float32), reference(variant, rows, link).numpy()) < 2**-11


@pytest.mark.parametrize("variant", VARIANTS)
def test_latent_step_runs_the_agent_on_the_inner_link(agent: HalfAgent, variant: Any) -> None:
    embed = _embed(agent, 19)
    size = embed.shape[2]
    link = random_link(INNER_TENSORS[variant], size, size, 24)
    cache = agent.library.kv_cache()
    hidden = cache.forward("latent_prefill", embed, agent.params)
    stepped = cache.forward(f"latent_step_{variant}", hidden, agent.params, packed(link))
    bent = inner_link(variant, torch.from_numpy(hidden.astype(np.float32)), link).numpy().astype(np.float16)
    both = np.concatenate([embed, bent], axis=1)
    expected = agent.hidden_states(both)[:, -1:]
    allowed = 2 * relative(agent.hidden_states(both, half=True)[:, -1:], expected)
    assert relative(stepped.astype(np.float32), expected) < max(allowed, 2e-3)


def test_large_hand_offs_stay_as_close_over_many_latent_steps(agent: HalfAgent) -> None:
    """The released outer links give hand-offs 50 times as long as embeddings, which a recurrent state remembers."""
    table = agent.model.model.embed_tokens.weight.detach().numpy()
    length = 50 * float(np.linalg.norm(table, axis=1).mean())
    size, steps = table.shape[1], 48
    rows = np.random.default_rng(3).normal(size=(1, 19 + steps, size))
    rows *= length / np.linalg.norm(rows, axis=2, keepdims=True)
    embed = rows.astype(np.float16)
    link = [np.zeros((8, size)), np.zeros(8), np.zeros((size, 8)), np.zeros(size)]  # R_in is the identity.
    arguments = [agent.params, [each.astype(np.float32) for each in link]]
    cache = agent.library.kv_cache()
    parts = [cache.forward("get_last_hidden", embed[:, :19], agent.params)]
    # Given steps instead of its own, because an untrained model doubles any difference from step to step.
    for step in range(19, 19 + steps):
        parts.append(cache.forward("latent_step_paper", embed[:, step : step + 1], *arguments))
    hidden = np.concatenate(parts, axis=1)
    assert np.isfinite(hidden).all()
    _close(agent, embed, hidden)
    _close(agent, embed, hidden, since=-8)
