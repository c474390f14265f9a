"""The saved run: its model reads every version, as the page does in web/test/formats/saved-run.test.ts."""

import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.early_stopping import EarlyStop, EarlyStopping
from recursivemas.system.errors import InputError
from recursivemas.system.saved_run import SavedRun
from recursivemas.system.settings import AnswerRetry

FIXTURES = Path(__file__).parents[1] / "fixtures/saved-runs"


def saved_run(version: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FIXTURES / f"version-{version}.json").read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_saved_run_of_every_version_is_read(version: int) -> None:
    run = SavedRun.parse(saved_run(version), "run.json")
    assert [turn.agent for turn in run.result.turns] == ["planner", "critic", "solver"] * 2
    assert (run.origin is None) == (run.options.order is None) == (version == 1)
    assert (run.options.replace is None) == (run.result.turns[0].forward_positions is None) == (version < 3)


def test_saved_run_of_version_3_keeps_every_option() -> None:
    options = SavedRun.parse(saved_run(3), "run.json").options
    assert options.replace is not None and options.replace["planner->critic"] == "zeros"
    assert options.search is not None and options.search.url == "https://en.wikipedia.org/w/api.php"
    assert options.trace is not None and options.trace.lens_top_k == 2


def test_saved_run_of_version_4_keeps_fields_and_new_settings() -> None:
    run = SavedRun.parse(saved_run(4), "run.json")
    assert run.options.fields == {"solver_facts": "a>b {x}", "kind": "walk"}
    assert (run.options.decoding.temperature, run.options.decoding.top_k) == (None, 20)
    assert run.options.decoding.answer_retry == AnswerRetry()
    assert [agent.latent_steps for agent in run.system.agents] == [None, 2, None]
    assert SavedRun.parse(saved_run(3), "run.json").options.fields is None


def test_saved_run_of_version_5_keeps_where_it_stopped_early() -> None:
    run = SavedRun.parse(saved_run(5), "run.json")
    assert run.options.early_stopping == EarlyStopping(threshold=0.99)
    assert run.result.early_stop == EarlyStop(round=1, similarity=0.9975)
    assert [each.similarity for each in run.result.handoffs] == [None] * 5 + [0.9975]
    older = SavedRun.parse(saved_run(4), "run.json")
    assert older.options.early_stopping is older.result.early_stop is None


def test_saved_run_is_refused_with_the_place_of_the_problem() -> None:
    data = saved_run(3)
    data["result"]["turns"][1]["rounds"] = 1
    with pytest.raises(InputError, match=r"unknown key 'result.turns.1.rounds'; did you mean 'round'"):
        SavedRun.parse(data, "run.json")
