"""Early stopping (rule 10) against runs of fewer rounds and against cosines computed apart."""

import math

import numpy as np
import pytest
import torch

from recursivemas.system.errors import InputError
from recursivemas.system.system import System
from recursivemas.training.agents import load_agents
from recursivemas.training.early_stopping import similarity
from recursivemas.training.recursion import Answers, Recursion
from tests.training.conftest import QUESTIONS, MakeSystem, make_links
from tests.training.test_recursion import count_positions
from tests.training.test_rollout import relative

ROUNDS = 4


def expected_similarities(full: Answers, system: System, index: int) -> list[float]:
    """Of rounds 2 to the last but one, from the hand-offs of a run that takes all rounds, in plain numpy."""
    feedback = [edge.id for edge in system.edges if edge.feedback]
    handed = {
        (turn.round, edge): value[index].double().numpy()
        for turn in full.turns
        for edge, value in turn.hand_offs.items()
        if edge in feedback
    }
    return [
        min(
            float(np.dot(now, before) / math.sqrt(np.dot(now, now) * np.dot(before, before)))
            for edge in feedback
            for now, before in zip(handed[round_index, edge], handed[round_index - 1, edge], strict=True)
        )
        for round_index in range(1, ROUNDS - 1)
    ]


@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("pattern", ["sequential", "mixture", "deliberation"])
def test_every_question_stops_for_itself_with_the_answer_of_fewer_rounds(
    make_system: MakeSystem, pattern: str, think: bool
) -> None:
    system = make_system(pattern, think, ROUNDS)
    agents = load_agents(system)
    recursion = Recursion(system, agents, make_links(system, agents))
    full = recursion.run(QUESTIONS)
    expected = [expected_similarities(full, system, index) for index in range(len(QUESTIONS))]
    watched = recursion.run(QUESTIONS, threshold=math.inf)
    assert watched.token_ids == full.token_ids and watched.stops == [None] * len(QUESTIONS)
    assert watched.forward_positions == full.forward_positions and watched.kept_positions == full.kept_positions
    for came, wanted in zip(watched.similarities, expected, strict=True):
        assert came == pytest.approx(wanted, abs=1e-5)
    fewer = {rounds: recursion.run(QUESTIONS, rounds=rounds) for rounds in range(2, ROUNDS + 1)}
    seen: set[int] = set()
    for threshold in sorted({value - 1e-4 for values in expected for value in values if value > 1e-3}):
        answers = recursion.run(QUESTIONS, threshold=threshold)
        for index, values in enumerate(expected):
            taken = next((place + 2 for place, value in enumerate(values) if value >= threshold), ROUNDS)
            seen.add(taken)
            stop = answers.stops[index]
            assert (stop.round + 1 if stop else ROUNDS) == taken
            if stop is not None:
                assert stop.similarity == pytest.approx(values[taken - 2], abs=1e-5)
            assert answers.token_ids[index] == fewer[taken].token_ids[index]
            again = 0
            if stop is not None and not think:  # the turn whose thoughts showed that the round repeats
                again = fewer[taken].turns[-1].prompt_tokens[index] + system.latent_steps - 1
            assert answers.forward_positions[index] == fewer[taken].forward_positions[index] + again
        for turn in answers.turns:
            same = next(each for each in full.turns if (each.agent, each.round) == (turn.agent, turn.round))
            assert turn.questions is not None
            for edge, value in turn.hand_offs.items():
                if edge in same.hand_offs:
                    assert relative(value, same.hand_offs[edge][list(turn.questions)]) < 1e-4
    assert len(seen) > 1, "the thresholds must make questions stop in different rounds"


@pytest.mark.parametrize("think", [True, False])
def test_positions_of_a_run_that_stops_are_those_that_agents_read(make_system: MakeSystem, think: bool) -> None:
    system = make_system("sequential", think, ROUNDS)
    agents = load_agents(system)
    recursion = Recursion(system, agents, make_links(system, agents))
    values = recursion.run(QUESTIONS[:1], threshold=math.inf).similarities[0]
    answers: list[Answers] = []
    threshold = max(values) - 1e-4
    fed = count_positions(agents, lambda: answers.append(recursion.run(QUESTIONS[:1], threshold=threshold)))
    assert answers[0].stops[0] is not None
    assert answers[0].forward_positions[0] - answers[0].kept_positions[0] == fed


def test_zeros_are_like_nothing_and_equal_rows_are_alike() -> None:
    torch.manual_seed(0)
    now = torch.randn(2, 3, 5)
    before = now * 2
    before[1, 2] = 0
    assert similarity(now, before).tolist() == pytest.approx([1.0, 0.0])
    assert similarity(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)).tolist() == [0.0]
    assert similarity(now, -now).tolist() == pytest.approx([-1.0, -1.0])


def test_only_latent_mode_and_runs_with_feedback_stop_early(make_system: MakeSystem) -> None:
    system = make_system("sequential", rounds=ROUNDS)
    agents = load_agents(system)
    recursion = Recursion(system, agents, make_links(system, agents))
    for mode in ("text", "single", "loop"):
        assert recursion.run(QUESTIONS[:1], mode=mode, threshold=1e-6).stops == []  # type: ignore[arg-type]
    raw = system.model_dump(mode="json", by_alias=True)
    raw["early_stopping"] = {"threshold": 0.9}
    assert System.parse(raw, "test").early_stopping is not None
    last = [{**raw["agents"][0], "prompt": "{question}"}, *raw["agents"][1:]]
    forward = {**raw, "pattern": "graph", "agents": last, "edges": [e for e in raw["edges"] if not e["feedback"]]}
    with pytest.raises(InputError, match="early_stopping needs a feedback edge"):
        System.parse(forward, "test")
    with pytest.raises(InputError, match=r"early_stopping\.threshold: .*greater than 0, got 0"):
        System.parse({**raw, "early_stopping": {"threshold": 0}}, "test")
