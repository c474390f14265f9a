from dataclasses import replace

import torch

from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks import hop
from recursivemas.training.train.initialise import ridge
from recursivemas.training.train.pairs import (
    Pairs,
    Reading,
    Variety,
    as_received,
    character_ends,
    collect_latent_pairs,
    collect_pairs,
    from_states,
    likeliest,
    mean_embedding,
)
from recursivemas.training.train.prefix import PrefixRecursion
from tests.training.conftest import QUESTIONS, make_links
from tests.training.test_recursion import count_positions


def test_as_received_matches_tokens_by_where_they_end(agents: dict[str, LoadedAgent]) -> None:
    sender, receiver = agents["planner"], agents["solver"]
    ids = sender.token_ids("a@3 b>c nonsense d")
    read = receiver.token_ids(sender.decode(ids))
    assert len(read) == 3  # <unk> is not handed over
    matched = as_received(sender, receiver, ids)
    assert [matched[0], matched[1], matched[3]] == read


def test_character_ends_are_those_of_the_text(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["critic"]
    assert character_ends(agent, agent.token_ids("a@3 b>c d@12")) == [3, 7, 12]


def test_collect_pairs_targets_are_what_the_agent_itself_finds_likeliest(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    pairs = collect_pairs(Recursion(system, agents, None), hop.questions(1, 20), temperature=0.0, seed=0)
    for name, agent in agents.items():
        scores = agent.model.get_output_embeddings()(pairs[name].hidden)
        assert torch.equal(scores.argmax(-1), pairs[name].targets[:, 0])
        assert len(pairs[name].targets) > 20
    sent = [agents["planner"].decode([t]) for t in pairs["planner"].targets[:, 0].tolist()]
    read = [agents["critic"].decode([t]) if t >= 0 else "" for t in pairs["planner"].received["critic"][:, 0].tolist()]
    assert sent == read


def test_collect_pairs_with_candidates_weighs_them_by_the_agents_own_probability(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    pairs = collect_pairs(Recursion(system, agents, None), hop.questions(1, 8), temperature=1.0, seed=0, candidates=3)
    for name, agent in agents.items():
        found, scores = pairs[name], agent.model.get_output_embeddings()(pairs[name].hidden).double()
        best = scores.softmax(-1).sort(-1, descending=True).values[:, :3]
        torch.testing.assert_close(found.weights.double(), best / best.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)
        wanted = sum(found.weights[:, k, None] * agent.embed(found.targets[:, k]) for k in range(3))
        torch.testing.assert_close(mean_embedding(agent, found.targets, found.weights), wanted, atol=1e-5, rtol=1e-4)


def test_a_filler_stands_in_place_of_a_stop_token(system: System, agents: dict[str, LoadedAgent]) -> None:
    agent, recursion = agents["critic"], Recursion(system, agents, None)
    hidden = torch.randn(40, agent.hidden_size)
    said = likeliest(agent, hidden, 1)[0]
    stop, filler = int(said[0]), int(agent.token_ids("b")[0])
    stopping = replace(agent, stop_list=(stop,))
    plain, filled = (
        from_states(recursion, stopping, hidden, 1, Reading(agents), given).targets for given in (None, filler)
    )
    assert torch.equal(plain, said) and stop not in filled
    assert torch.equal(filled, torch.where(said == stop, filler, said))


def test_mean_embedding_leaves_out_what_nobody_reads(agents: dict[str, LoadedAgent]) -> None:
    agent = agents["critic"]
    mean = mean_embedding(agent, torch.tensor([[5, -1, 7]]), torch.tensor([[0.5, 0.3, 0.2]]))
    torch.testing.assert_close(mean[0], (5 * agent.embed(5) + 2 * agent.embed(7)) / 7)


def test_collect_latent_pairs_are_the_thoughts_of_a_latent_run(system: System, agents: dict[str, LoadedAgent]) -> None:
    recursion = Recursion(system, agents, make_links(system, agents).requires_grad_(False))
    records = [
        record.model_copy(update={"question": text})
        for record, text in zip(hop.questions(1, 3), QUESTIONS, strict=True)
    ]
    pairs = collect_latent_pairs(recursion, records, seed=0, candidates=2)
    turns = recursion.run(QUESTIONS).turns
    for name, agent in agents.items():
        thoughts = torch.cat([t.thoughts.flatten(0, 1) for t in turns if t.agent == name and t.thoughts is not None])
        nearest = torch.cdist(pairs[name].hidden, thoughts).min(1).values
        assert len(nearest) >= 3 and float(nearest.max()) < 1e-3
        assert torch.equal(pairs[name].targets, likeliest(agent, pairs[name].hidden, 2)[0])
    done: list[tuple[int, int]] = []
    prefixed = PrefixRecursion(system, agents, recursion.links)
    shared = collect_latent_pairs(prefixed, records, 0, 2, lambda *counts: done.append(counts))
    assert done == [(3, 3)]
    for name in agents:
        torch.testing.assert_close(shared[name].hidden, pairs[name].hidden, atol=1e-4, rtol=1e-4)


def test_ridge_recovers_an_affine_map() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(400, 5), torch.randn(3, 5), torch.randn(3)
    found_weight, found_bias = ridge(x, x @ weight.T + bias, penalty=1e-9)
    torch.testing.assert_close(found_weight, weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found_bias, bias, atol=1e-4, rtol=1e-4)


def test_collect_pairs_runs_no_turn_twice_and_writes_as_long_as_asked(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    records = hop.questions(1, 1)
    decoding = system.decoding.model_copy(update={"think_before_answer": True, "text_tokens": 7})
    written = Recursion(system.model_copy(update={"decoding": decoding}), agents, None)
    answers = written.run([records[0].question], mode="text")
    expected = answers.forward_positions[0] - answers.kept_positions[0]
    found: list[dict[str, Pairs]] = []

    def collect(text_tokens: int | None) -> None:
        found.append(collect_pairs(Recursion(system, agents, None), records, 0.0, 0, text_tokens=text_tokens))

    assert count_positions(agents, lambda: collect(7)) == expected
    collect(None)
    longer, usual = (sum(len(each.targets) for each in pairs.values()) for pairs in found)
    assert longer > usual > 0


def test_collect_pairs_tells_texts_that_are_the_same_whatever_the_question(
    system: System, agents: dict[str, LoadedAgent]
) -> None:
    same: dict[str, Variety] = {}
    collect_pairs(Recursion(system, agents, None), hop.questions(1, 1) * 6, 0.0, 0, varieties=same)
    different: dict[str, Variety] = {}
    collect_pairs(Recursion(system, agents, None), hop.questions(1, 200), 0.0, 0, varieties=different)
    for name in agents:
        assert different[name].boilerplate < same[name].boilerplate <= 1
        assert different[name].distinct_tokens > same[name].distinct_tokens
