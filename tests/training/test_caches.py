"""Rollouts through layers with linear attention and with a sliding window."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import transformers

from harness.recomputing import think_recomputing
from harness.tiny_models import CASES, make_model
from recursivemas.system.system import Agent
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import Context, Sampler, begin, extend, left_pad, think, write
from recursivemas.training.train.prefix import Prefix, read_once
from tests.training.test_rollout import inner_of, relative

WINDOW = 5


def _qwen3_5() -> Any:
    (case,) = (case for case in CASES if case.name == "qwen3_5")
    return make_model(case)


def _gemma3() -> Any:
    config = transformers.Gemma3TextConfig(
        vocab_size=101,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        sliding_window=WINDOW,
    )
    torch.manual_seed(4)
    model = transformers.Gemma3ForCausalLM(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return model


@pytest.fixture(scope="module", params=[_qwen3_5, _gemma3], ids=["qwen3_5", "gemma3_text"])
def agent(request: pytest.FixtureRequest) -> LoadedAgent:
    torch.set_num_threads(1)
    declared = cast(Agent, SimpleNamespace(id="x"))
    return LoadedAgent(declared, request.param().requires_grad_(False), None, Path())


def _prompts(agent: LoadedAgent, *lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [agent.embed(torch.randint(3, 100, (length,), generator=generator)) for length in lengths]


def _alone(agent: LoadedAgent, rows: torch.Tensor) -> torch.Tensor:
    """(T, D) hidden states of (T, D) embeddings by transformers, without a cache or a batch."""
    hidden: torch.Tensor = agent.model.base_model(inputs_embeds=rows[None], use_cache=False).last_hidden_state[0]
    return hidden


@torch.no_grad()
def test_equal_beginnings_are_read_once_and_go_on_as_each_alone(agent: LoadedAgent) -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = (torch.randint(3, 100, (length,), generator=generator).tolist() for length in (7, 4))
    rows = [first, second, first, second, first]
    context = read_once(agent, rows)
    more = torch.stack(_prompts(agent, 3, 3, 3, 3, 3))  # (5, 3, D)
    hidden = extend(agent, context, more)
    for row, behind, found in zip(rows, more, hidden, strict=True):
        assert relative(found, _alone(agent, torch.cat([agent.embed(row), behind]))[-3:]) < 1e-5


@torch.no_grad()
def test_a_batch_of_unequal_prompts_equals_each_alone(agent: LoadedAgent) -> None:
    prompts, (more,) = _prompts(agent, 3, 12, 1, 40), _prompts(agent, 6)
    first, context = begin(agent, prompts)
    rest = [extend(agent, context, row.expand(len(prompts), 1, -1))[:, 0] for row in more]
    together = torch.stack([first, *rest], dim=1)  # (B, 1 + 6, D)
    for index, prompt in enumerate(prompts):
        assert relative(together[index], _alone(agent, torch.cat([prompt, more]))[-7:]) < 1e-5


@pytest.mark.parametrize("lengths", [(9, 9), (4, 11, 1)])
def test_gradients_flow_through_the_states(agent: LoadedAgent, lengths: tuple[int, ...]) -> None:
    # In float64, because through four steps some processors round float32 gradients by more than the tolerance.
    agent = replace(agent, model=copy.deepcopy(agent.model).double())
    results = []
    for rollout in ("cached", "recomputed"):
        link, prompts = inner_of(agent), [prompt.clone().requires_grad_() for prompt in _prompts(agent, *lengths)]
        if rollout == "cached":
            first, context = begin(agent, prompts)
            thoughts = think(agent, link, first, context, 4)
        else:
            thoughts = think_recomputing(agent, link, prompts, 4)
        (thoughts * torch.linspace(-1, 1, thoughts.numel()).reshape(thoughts.shape)).sum().backward()
        results.append([thoughts.detach(), *(each.grad for each in [*link.parameters(), *prompts])])
    for cached, recomputed in zip(*results, strict=True):
        assert cached is not None and recomputed is not None
        assert relative(cached, recomputed) < 1e-4


@torch.no_grad()
def test_padding_between_real_positions_leaves_no_trace(agent: LoadedAgent) -> None:
    rows = _prompts(agent, 20, 20)
    valid = torch.tensor([[True, False, True], [False, False, True]])
    steps = torch.tensor([[True], [False]])
    context = Context(transformers.DynamicCache())
    extend(agent, context, torch.stack([row[:8] for row in rows]))
    extend(agent, context, torch.stack([row[8:11] for row in rows]), valid)
    extend(agent, context, torch.stack([row[11:12] for row in rows]), steps)
    hidden = extend(agent, context, torch.stack([row[12:] for row in rows]))
    real = [torch.cat([torch.ones(8, dtype=torch.bool), *pieces, torch.ones(8, dtype=torch.bool)])
            for pieces in zip(valid, steps, strict=True)]  # fmt: skip
    for index, row in enumerate(rows):
        assert relative(hidden[index], _alone(agent, row[real[index]])[-8:]) < 1e-5


@torch.no_grad()
def test_prompts_go_on_behind_padding_of_several_lengths(agent: LoadedAgent) -> None:
    rows, lengths = _prompts(agent, 20, 20, 20), (9, 2, 6)
    context = Context(transformers.DynamicCache())
    extend(agent, context, torch.stack([row[:8] for row in rows]))
    embeds, valid = left_pad([row[8 : 8 + length] for row, length in zip(rows, lengths, strict=True)])
    extend(agent, context, embeds, valid)
    hidden = extend(agent, context, torch.stack([row[17:] for row in rows]))
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert relative(hidden[index], _alone(agent, torch.cat([row[: 8 + length], row[17:]]))[-3:]) < 1e-5


@torch.no_grad()
def test_padding_after_the_last_position_changes_nothing_before_it(agent: LoadedAgent) -> None:
    rows = _prompts(agent, 14, 14)
    context = Context(transformers.DynamicCache())
    extend(agent, context, torch.stack([row[:8] for row in rows]))
    valid = torch.arange(6)[None] < torch.tensor([[6], [2]])
    hidden = extend(agent, context, torch.stack([row[8:] for row in rows]), valid)
    for index, count in enumerate((6, 2)):
        assert relative(hidden[index, :count], _alone(agent, rows[index][: 8 + count])[8:]) < 1e-5


@torch.no_grad()
def test_write_greedily_equals_transformers_generate(agent: LoadedAgent) -> None:
    ids = torch.tensor([[1, 17, 30, 44, 9, 5, 8]])
    first, context = begin(agent, [agent.embed(ids[0]), agent.embed(ids[0, 3:])])
    written = write(agent, first, context, 9, Sampler())
    expected = agent.model.generate(
        ids, max_new_tokens=9, do_sample=False, attention_mask=torch.ones_like(ids), eos_token_id=None
    )
    assert written.ids[0] == expected[0, 7:].tolist()


@torch.no_grad()
def test_a_prefix_is_read_once_for_several_turns(agent: LoadedAgent) -> None:
    prompts = _prompts(agent, 4, 9, 7)
    embeds, valid = left_pad(prompts)
    context = Context(transformers.DynamicCache())
    extend(agent, context, embeds, valid)
    prefix = Prefix(context, [4, 9, 7])
    for rest in _prompts(agent, 6, 3):
        forked = prefix.fork()
        found = [extend(agent, forked, part.expand(3, -1, -1))[:, -1] for part in (rest[:-1], rest[-1:])]
        for index, prompt in enumerate(prompts):
            alone = _alone(agent, torch.cat([prompt, rest]))
            assert relative(torch.stack(found)[:, index], alone[-2:]) < 1e-5
    assert context.length == 9


def test_branches_that_go_on_from_the_same_positions_have_their_own_gradients(agent: LoadedAgent) -> None:
    results = []
    for branching in (True, False):
        link, prompts = inner_of(agent), [prompt.clone().requires_grad_() for prompt in _prompts(agent, 7, 4)]
        total = torch.zeros(())
        shared = begin(agent, prompts, 3)
        for weight in (1.0, -2.0, 3.0):
            first, context = shared if branching else begin(agent, prompts)
            first = weight * first
            context = context.fork(round(weight)) if branching else context
            thoughts = think(agent, link, first, context, 4)
            total = total + (thoughts * torch.linspace(-1, weight, thoughts.numel()).reshape(thoughts.shape)).sum()
        total.backward()
        results.append([total.detach(), *(each.grad for each in [*link.parameters(), *prompts])])
    for together, apart in zip(*results, strict=True):
        assert together is not None and apart is not None
        assert relative(together, apart) < 1e-5
