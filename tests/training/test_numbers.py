"""NaN and infinity in weights and links: the reference stops and names the first agent at fault."""

import math

import pytest
import torch

from recursivemas.system.errors import InputError
from recursivemas.system.names import Mode
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import NOT_FINITE, Sampler
from tests.training.conftest import QUESTIONS, MakeSystem, make_links


@pytest.fixture
def fresh(make_system: MakeSystem) -> Recursion:
    """A system whose agents a test may break."""
    system = make_system()
    agents = load_agents(system)
    return Recursion(system, agents, make_links(system, agents))


def break_agent(agent: LoadedAgent, value: float = math.nan) -> None:
    with torch.no_grad():
        agent.model.base_model.layers[0].mlp.down_proj.weight[3, 2] = value


@pytest.mark.parametrize("mode", ["latent", "text", "single", "loop"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_run_stops_at_nan_weights_of_the_deciding_agent(fresh: Recursion, mode: Mode, temperature: float) -> None:
    break_agent(fresh.deciding)
    sampler = Sampler(temperature, 0.9, torch.Generator())
    with pytest.raises(InputError, match="agent 'solver': its logits are not finite") as failure:
        fresh.run(QUESTIONS, rounds=1, mode=mode, sampler=sampler)
    assert str(failure.value).endswith("its weights or links are broken: check the checkpoint")


def test_run_names_the_agent_whose_thoughts_were_not_finite_first(fresh: Recursion) -> None:
    break_agent(fresh.agents["critic"])
    with pytest.raises(InputError, match="agent 'critic': its latent thoughts are not finite"):
        fresh.run(QUESTIONS, rounds=3)
    with pytest.raises(InputError, match="agent 'critic': its logits are not finite"):
        fresh.run(QUESTIONS, rounds=3, mode="text")
    assert fresh.run(QUESTIONS, mode="single").texts


def test_nan_of_a_hand_off_reaches_the_deciding_agents_logits(
    fresh: Recursion, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_agent(fresh.agents["critic"])
    monkeypatch.setattr(Recursion, "check_finite", lambda *_: None)
    with pytest.raises(InputError, match="agent 'solver': its logits are not finite"):
        fresh.run(QUESTIONS)


def test_run_names_the_edge_whose_link_is_not_finite(fresh: Recursion) -> None:
    assert fresh.links is not None
    with torch.no_grad():
        fresh.links.outer["planner->critic"].w3.fill_(3e38)
    with pytest.raises(
        InputError, match="agent 'planner': what its links hand over on 'planner->critic' is not finite"
    ):
        fresh.run(QUESTIONS, rounds=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampler_picks_no_token_from_logits_that_are_not_finite(value: float, temperature: float) -> None:
    scores = torch.tensor([[0.0, 9.0, 1.0], [5.0, value, 1.0]])
    picked = Sampler(temperature, 1.0, torch.Generator().manual_seed(0))(scores).tolist()
    assert picked[1] == NOT_FINITE != picked[0]
