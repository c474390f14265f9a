"""What agents keep between rounds: the same hand-offs and answers as without, and how many positions it saves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from recursivemas.system.names import Mode
from recursivemas.system.questions import Asked
from recursivemas.system.system import Agent
from recursivemas.training import kept, recursion
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.kept import KeptPrefixes, prefix_length
from recursivemas.training.recursion import Answers, Recursion
from recursivemas.training.rollout import begin
from tests.training.conftest import QUESTIONS, MakeSystem, make_links
from tests.training.test_caches import _gemma3, _prompts, _qwen3_5
from tests.training.test_rollout import relative


def nothing_kept(agents: Mapping[str, LoadedAgent], questions: Sequence[Asked], _rounds: int) -> KeptPrefixes:
    return KeptPrefixes(agents, questions, 1)


@pytest.mark.parametrize("mode", ["latent", "text"])
@pytest.mark.parametrize("pattern", ["sequential", "mixture"])
def test_hand_offs_and_answers_are_those_of_computing_every_prompt(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch, mode: Mode, pattern: str
) -> None:
    system = make_system(pattern, rounds=3)
    agents = load_agents(system)
    asked = Recursion(system, agents, make_links(system, agents))
    found: list[Answers] = []
    for keeps in (True, False):
        if not keeps:
            monkeypatch.setattr(recursion, "KeptPrefixes", nothing_kept)
        found.append(asked.run(QUESTIONS, mode=mode))
    keeping, plain = found
    assert keeping.texts == plain.texts and keeping.token_ids == plain.token_ids
    assert keeping.forward_positions == plain.forward_positions
    assert plain.kept_positions == [0] * len(QUESTIONS)
    openings = [len(agents["planner"].token_ids(f"<bos> plan {question} ")) for question in QUESTIONS]
    assert keeping.kept_positions == [2 * len(agents) * opening for opening in openings]  # in rounds 2 and 3
    for turn, expected in zip(keeping.turns, plain.turns, strict=True):
        assert turn.hand_offs.keys() == expected.hand_offs.keys()
        for edge, value in turn.hand_offs.items():
            assert relative(value, expected.hand_offs[edge]) < 1e-5


def test_a_prefix_is_what_both_prompts_have_in_common_before_a_slot(agents: dict[str, LoadedAgent]) -> None:
    loaded = agents["planner"]

    def length(first: str | None, later: str) -> int:
        prompts = {"prompt": later, **({} if first is None else {"first_round_prompt": first})}
        declared = loaded.agent.model_copy(update=prompts)
        return prefix_length(LoadedAgent(declared, loaded.model, loaded.tokenizer, loaded.folder), "a>b ? a@1")

    opening = len(loaded.token_ids("<bos> plan a>b ? a@1"))
    slot = "{latent:solver->planner}"
    assert length(None, f"<bos> plan {{question}} {slot} go") == opening
    assert length("<bos> plan {question}", f"<bos> plan {{question}} {slot} go") == opening
    assert length(None, "<bos> plan {question}") == opening - 1
    assert length("go {question}", f"<bos> plan {{question}} {slot}") == 0
    assert length(None, f"{slot} <bos> plan {{question}}") == 0


@torch.no_grad()
@pytest.mark.parametrize("make", [_qwen3_5, _gemma3], ids=["qwen3_5", "gemma3_text"])
def test_states_and_windows_go_on_from_a_prefix(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    agent = LoadedAgent(cast(Agent, SimpleNamespace(id="x")), make().requires_grad_(False), None, Path())  # type: ignore[operator]
    prefixes = _prompts(agent, 4, 11, 0, 6)
    monkeypatch.setattr(kept, "prefix_length", lambda _agent, question: len(prefixes[int(question)]))
    keeping = KeptPrefixes({"x": agent}, ["0", "1", "2", "3"], rounds=3)
    for lengths in ((5, 2, 1, 0), (3, 1, 9, 2), (7, 7, 7, 7)):
        prompts = [torch.cat(pair) for pair in zip(prefixes, _prompts(agent, *lengths), strict=True)]
        hidden, context = keeping.begin(agent, prompts)
        expected, _ = begin(agent, prompts)
        assert relative(hidden, expected) < 1e-5
        assert context.length == 11 + max(lengths)
