from dataclasses import replace

import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from harness.recomputing import think_recomputing
from recursivemas.system.manifest import Sampling
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink
from recursivemas.training.rollout import Interjection, Sampler, begin, extend, logits, think, write
from tests.training.conftest import Scripted


def inner_of(agent: LoadedAgent) -> InnerLink:
    torch.manual_seed(7)
    return InnerLink(agent.hidden_size, 24)


def prompts_of(agent: LoadedAgent, *lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [agent.embed(torch.randint(3, 600, (length,), generator=generator)) for length in lengths]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", ["planner", "critic", "solver"])
@pytest.mark.parametrize("lengths", [(9, 9), (4, 11, 1)])
def test_think_cached_gives_the_gradients_of_recomputing(
    agents: dict[str, LoadedAgent], name: str, lengths: tuple[int, ...]
) -> None:
    agent = agents[name]
    results = []
    for cached in (True, False):
        link = inner_of(agent)
        prompts = [prompt.clone().requires_grad_() for prompt in prompts_of(agent, *lengths)]
        if cached:
            first, context = begin(agent, prompts)
            thoughts = think(agent, link, first, context, 6)
        else:
            thoughts = think_recomputing(agent, link, prompts, 6)
        weights = torch.linspace(-1, 1, thoughts.numel()).reshape(thoughts.shape)
        (thoughts * weights).sum().backward()
        gradients = [parameter.grad for parameter in link.parameters()] + [prompt.grad for prompt in prompts]
        results.append((thoughts.detach(), gradients))
    assert relative(results[0][0], results[1][0]) < 1e-5
    for cached_gradient, expected in zip(results[0][1], results[1][1], strict=True):
        assert cached_gradient is not None and expected is not None
        assert relative(cached_gradient, expected) < 1e-4


@pytest.mark.parametrize("name", ["planner", "critic", "solver"])
def test_think_in_a_batch_equals_each_sample_alone(agents: dict[str, LoadedAgent], name: str) -> None:
    agent, link = agents[name], inner_of(agents[name])
    prompts = prompts_of(agent, 3, 12, 1, 7)
    with torch.no_grad():
        first, context = begin(agent, prompts)
        together = think(agent, link, first, context, 4)
        for index, prompt in enumerate(prompts):
            first, context = begin(agent, [prompt])
            assert relative(together[index], think(agent, link, first, context, 4)[0]) < 1e-5


def saved_bytes(agent: LoadedAgent, prompt: int, steps: int) -> int:
    """What autograd keeps of a rollout, where tensors that share memory count once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        first, context = begin(agent, prompts_of(agent, prompt), steps)
        think(agent, inner_of(agent), first, context, steps)
    return sum(kept.values())


@pytest.mark.parametrize("name", ["planner", "critic", "solver"])
def test_think_keeps_the_prompts_keys_and_values_once(agents: dict[str, LoadedAgent], name: str) -> None:
    agent, more = agents[name], 100
    config = agent.model.config
    heads = config.num_key_value_heads * (getattr(config, "head_dim", None) or agent.hidden_size // 2)
    once = 2 * 4 * config.num_hidden_layers * heads * more  # keys and values of so many positions, in float32
    added = saved_bytes(agent, 20 + more, 8) - saved_bytes(agent, 20, 8)
    hidden = 4 * agent.hidden_size * more  # of the prompt, of which h_1 is a part
    assert 0 < added <= once + hidden


def test_extend_in_chunks_equals_one_run(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["critic"]
    (prompt,) = prompts_of(agent, 10)
    with torch.no_grad():
        whole, _ = begin(agent, [prompt])
        _, context = begin(agent, [prompt[:4]])
        rest = extend(agent, context, prompt[None, 4:])[:, -1]
        hidden = agent.model(inputs_embeds=prompt[None], output_hidden_states=True).hidden_states[-1][:, -1]
    assert relative(rest, whole) < 1e-5
    assert relative(hidden, whole) < 1e-5


def test_write_greedily_equals_transformers_generate(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["solver"]
    ids = torch.tensor([[1, 17, 300, 44, 9]])
    with torch.no_grad():
        first, context = begin(agent, [agent.embed(ids[0])])
        written = write(agent, first, context, 6, Sampler())
        expected = agent.model.generate(ids, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids))
    wanted = [token for token in expected[0, 5:].tolist() if token not in agent.stop_tokens]
    assert written.ids[0] == wanted


def test_write_excludes_the_stop_token_and_keeps_other_samples_going(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["planner"]
    prompts = prompts_of(agent, 5, 8)
    stop = min(agent.stop_tokens)
    picks = [torch.tensor([4, stop]), torch.tensor([5, 9]), torch.tensor([stop, 9])]
    with torch.no_grad():
        first, context = begin(agent, prompts)
        written = write(agent, first, context, 5, Scripted(picks))
    assert written.ids == [[4, 5], []]
    assert written.forward_positions == [2, 0]
    assert written.sampled == [2, 0]


def test_write_feeds_what_is_interjected_without_counting_it(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["planner"]
    (prompt,) = prompts_of(agent, 5)
    stop = min(agent.stop_tokens)
    with torch.no_grad():
        first, context = begin(agent, [prompt])
        picks = [torch.tensor([each]) for each in (4, 99, 99, 6, stop)]
        written = write(
            *(agent, first, context, 5, Scripted(picks)),
            interject=lambda ids, _: Interjection([7, 8]) if ids[-1] == 4 else None,
        )
        assert written.ids == [[4, 7, 8, 6]]
        assert written.sampled == [2]
        whole, _ = begin(agent, [torch.cat([prompt, agent.embed([4, 7, 8, 6])])])
    assert relative(written.hidden, whole) < 1e-5


def test_sampler_nucleus_never_leaves_it() -> None:
    scores = torch.log(torch.tensor([[0.6, 0.3, 0.1]])).expand(500, -1)
    picked = Sampler(1.0, 0.7, torch.Generator().manual_seed(0))(scores)
    assert set(picked.tolist()) == {0, 1}
    again = Sampler(1.0, 0.7, torch.Generator().manual_seed(0))(scores)
    assert torch.equal(picked, again)


def test_logits_are_the_models_own(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["solver"]
    ids = torch.tensor([[1, 17, 300]])
    with torch.no_grad():
        first, _ = begin(agent, [agent.embed(ids[0])])
        expected = agent.model(ids).logits[:, -1]
    torch.testing.assert_close(logits(agent, first), expected)


def test_write_with_a_repetition_penalty_equals_transformers_generate(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["critic"]
    (prompt,) = prompts_of(agent, 7)
    checkpoint = Sampling(temperature=0.0, repetition_penalty=3.0)
    with torch.no_grad():
        first, context = begin(agent, [prompt])
        own = replace(agent, sampling=checkpoint)
        written = write(own, first, context, 8, Sampler(repetition_penalty=None))
        expected = agent.model.generate(
            inputs_embeds=prompt[None], max_new_tokens=8, do_sample=False, repetition_penalty=3.0
        )[0].tolist()
        first, context = begin(agent, [prompt])
        plain = write(agent, first, context, 8, Sampler())
    assert written.ids[0] == [token for token in expected if token not in agent.stop_tokens]
    assert written.ids != plain.ids


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.6), (7, 0.5), (1, 0.9), (900, 0.9)])
def test_sampler_draws_from_transformers_distribution(top_k: int, top_p: float) -> None:
    scores = torch.randn(1, 40, generator=torch.Generator().manual_seed(1)) * 2
    scores[0, 3] = scores[0, 11]  # a tie
    seen = [5, 11, 5]
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([seen]), scores.clone())
    warpers = [TemperatureLogitsWarper(0.7), *([TopKLogitsWarper(top_k)] if top_k else [])]
    for warper in [*warpers, *([TopPLogitsWarper(top_p)] if top_p < 1 else [])]:
        expected = warper(None, expected)
    probabilities = expected.softmax(-1)[0]
    count = 4000
    sampler = Sampler(0.7, top_p, torch.Generator().manual_seed(0), top_k, 1.3)
    drawn = sampler(scores.expand(count, -1), [seen] * count).bincount(minlength=40) / count
    assert not drawn[probabilities == 0].any()
    assert torch.allclose(drawn, probabilities, atol=4 * float((probabilities.max() / count).sqrt()))
