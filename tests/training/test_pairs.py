import torch

from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.initialise import ridge
from recursivemas.training.pairs import as_received, character_ends, collect_pairs
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks import hop


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
        assert torch.equal(scores.argmax(-1), pairs[name].targets)
        assert len(pairs[name].targets) > 20
    sent = [agents["planner"].decode([t]) for t in pairs["planner"].targets.tolist()]
    read = [agents["critic"].decode([t]) if t >= 0 else "" for t in pairs["planner"].received["critic"].tolist()]
    assert sent == read


def test_ridge_recovers_an_affine_map() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(400, 5), torch.randn(3, 5), torch.randn(3)
    found_weight, found_bias = ridge(x, x @ weight.T + bias, penalty=1e-9)
    torch.testing.assert_close(found_weight, weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found_bias, bias, atol=1e-4, rtol=1e-4)
