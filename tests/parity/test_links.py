"""Compares every variant of both links in Chromium with PyTorch code written from the formulas of docs/abi.md."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import gelu, layer_norm, linear

from harness.tiny_models import CASES, relative
from recursivemas.system.links_file import INNER_TENSORS, OUTER_TENSORS
from recursivemas.system.names import LinkVariant
from tests.parity.conftest import Agent, MakeAgent

pytestmark = pytest.mark.browser

VARIANTS: tuple[LinkVariant, ...] = ("paper", "ln_res", "normed")
variants = pytest.mark.parametrize("variant", VARIANTS)
Tensors = Mapping[str, torch.Tensor]


def _unit(h: torch.Tensor) -> torch.Tensor:
    return h / (h.square().sum(-1, keepdim=True).sqrt() + 1e-6)


def _bent(h: torch.Tensor, t: Tensors) -> torch.Tensor:
    return linear(gelu(linear(h, t["w1"], t["b1"]), approximate="tanh"), t["w2"], t["b2"])


def inner_link(variant: LinkVariant, h: torch.Tensor, t: Tensors) -> torch.Tensor:
    if variant == "normed":
        return t["scale"] * (_unit(h) + _bent(_unit(h), t))
    if variant == "paper":
        return h + linear(gelu(linear(h, t["w1"], t["b1"])), t["w2"], t["b2"])
    normed = layer_norm(h, h.shape[-1:], t["ln_pre.weight"], t["ln_pre.bias"])
    bent = h + linear(gelu(linear(normed, t["w1"], t["b1"])), t["w2"], t["b2"])
    return layer_norm(bent, h.shape[-1:], t["ln_post.weight"], t["ln_post.bias"])


def _outer(variant: LinkVariant, h: torch.Tensor, t: Tensors) -> torch.Tensor:
    if variant == "normed":
        return linear(_unit(h), t["w3"], t["b3"]) + _bent(_unit(h), t)
    straight = linear(h, t["w3"], t["b3"])
    if variant == "paper":
        return straight + linear(gelu(linear(h, t["w1"], t["b1"])), t["w2"], t["b2"])
    normed = layer_norm(h, h.shape[-1:], t["ln_source.weight"], t["ln_source.bias"])
    bent = straight + linear(gelu(linear(normed, t["w1"], t["b1"])), t["w2"], t["b2"])
    return layer_norm(bent, bent.shape[-1:], t["ln_target.weight"], t["ln_target.bias"])


def random_link(names: tuple[str, ...], source: int, target: int, width: int) -> dict[str, torch.Tensor]:
    shapes = {"w1": (width, source), "b1": (width,), "w2": (target, width), "b2": (target,)}
    shapes |= {"w3": (target, source), "b3": (target,), "scale": (target,)}
    for norm, size in (("ln_pre", source), ("ln_source", source), ("ln_post", target), ("ln_target", target)):
        shapes |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,)}
    generator = torch.Generator().manual_seed(source + 7 * target + 13 * width)
    return {
        name: torch.randn(shapes[name], generator=generator) / (shapes[name][-1] ** 0.5 if "w" in name[:1] else 1.0)
        for name in names
    }


def _rows(count: int, size: int) -> torch.Tensor:
    """Hidden states whose means are far from zero, for which a careless layer norm loses digits."""
    generator = torch.Generator().manual_seed(count)
    return 2 * torch.randn((count, size), generator=generator) + 5


def packed(link: Tensors) -> list[NDArray[np.float32]]:
    return [tensor.numpy() for tensor in link.values()]


@variants
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 17), (33, 128)])
def test_inner_link_equals_pytorch(any_agent: Agent, variant: LinkVariant, rows: int, width: int) -> None:
    size = any_agent.library.metadata["recursivemas"]["hidden_size"]
    link, hidden = random_link(INNER_TENSORS[variant], size, size, width), _rows(rows, size)
    got = any_agent.library.call(f"inner_link_{variant}", hidden.numpy(), packed(link))
    assert relative(got, inner_link(variant, hidden, link).numpy()) < 1e-5


@variants
@pytest.mark.parametrize(("rows", "width", "target"), [(1, 1, 48), (5, 17, 41), (33, 96, 160)])
def test_outer_link_equals_pytorch(any_agent: Agent, variant: LinkVariant, rows: int, width: int, target: int) -> None:
    size = any_agent.library.metadata["recursivemas"]["hidden_size"]
    assert target != size
    link, hidden = random_link(OUTER_TENSORS[variant], size, target, width), _rows(rows, size)
    got = any_agent.library.call(f"outer_link_{variant}", hidden.numpy(), packed(link))
    assert got.shape == (rows, target)
    assert relative(got, _outer(variant, hidden, link).numpy()) < 1e-5


@variants
def test_gpu_schedules_of_the_links_compute_the_same(make_agent: MakeAgent, variant: LinkVariant) -> None:
    agent = make_agent(CASES[0], "q0f32", "gpu")
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    hidden = _rows(9, size)
    inner, outer = (
        random_link(INNER_TENSORS[variant], size, size, 2 * size),
        random_link(OUTER_TENSORS[variant], size, 50, 100),
    )
    got = agent.library.call(f"inner_link_{variant}", hidden.numpy(), packed(inner))
    assert relative(got, inner_link(variant, hidden, inner).numpy()) < 1e-5
    got = agent.library.call(f"outer_link_{variant}", hidden.numpy(), packed(outer))
    assert relative(got, _outer(variant, hidden, outer).numpy()) < 1e-5


@variants
@pytest.mark.parametrize("schedule", ["software", "gpu"])
def test_latent_step_runs_the_agent_on_the_inner_link(
    make_agent: MakeAgent, variant: LinkVariant, schedule: str
) -> None:
    agent = make_agent(CASES[0], "q0f32", schedule)
    size = agent.library.metadata["recursivemas"]["hidden_size"]
    link = random_link(INNER_TENSORS[variant], size, size, 24)
    uploaded = agent.library.upload(packed(link))
    prompt = np.random.default_rng(3).normal(size=(1, 19, size)).astype(np.float32)
    cache = agent.library.kv_cache()
    hidden = cache.forward("latent_prefill", prompt, agent.params)
    inputs = torch.from_numpy(prompt)
    for _ in range(3):
        expected = torch.from_numpy(agent.hidden_states(inputs.numpy())[:, -1:].copy())
        assert relative(hidden, expected.numpy()) < 1e-4
        inputs = torch.cat([inputs, inner_link(variant, expected, link)], dim=1)
        hidden = cache.forward(f"latent_step_{variant}", hidden, agent.params, uploaded)
    assert relative(hidden, agent.hidden_states(inputs.numpy())[:, -1:]) < 1e-4
