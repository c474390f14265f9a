"""What agents keep of their prompts: nothing is computed twice, and nothing changes by it."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.engine_page import EnginePage, matrix, open_page, relative_error
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

SYSTEM = "systems/hop-sequential/system.json"
QUESTION = "a>b b~c c-d " * 20
OPTIONS: dict[str, Any] = {"rounds": 3, "latentSteps": 3, "trace": {"handoffs": True}}


def _computed(engine: EnginePage, **options: Any) -> tuple[dict[str, Any], int]:
    """A run, and how many positions the models really computed for it."""
    before = engine.counters()["positions"]
    result = engine.run(**OPTIONS, **options)
    return result, engine.counters()["positions"] - before


def _sum(result: dict[str, Any], key: str) -> int:
    return sum(turn.get(key, 0) for turn in result["turns"])


def _states(result: dict[str, Any]) -> list[Any]:
    return [matrix(each["states"]) for each in result["handoffs"]]


def test_engine_keeps_the_prefix_between_rounds_and_questions(engine: EnginePage, reference: Recursion) -> None:
    engine.run("a>b", rounds=1)
    first, computed = _computed(engine, question=QUESTION)
    kept = _sum(first, "keptPositions")
    # Three agents keep the question in two rounds, and count what they read as before.
    assert kept > 2 * 3 * 60
    assert computed == _sum(first, "forwardPositions") - kept
    again, computed_again = _computed(engine, question=QUESTION)
    assert [turn.get("keptPositions", 0) for turn in again["turns"]] == [
        turn.get("keptPositions", 0) for turn in first["turns"]
    ]
    assert computed_again == computed - kept // 2  # now the first round keeps it, too
    assert all((ours == theirs).all() for ours, theirs in zip(_states(again), _states(first), strict=True))
    expected = reference.run([QUESTION], rounds=3, latent_steps=3)
    assert first["answerTokenIds"] == again["answerTokenIds"] == expected.token_ids[0]
    assert _sum(first, "forwardPositions") == expected.forward_positions[0]
    assert kept == expected.kept_positions[0]


def test_engine_that_keeps_nothing_hands_over_the_same(browser: Browser, url: str, engine: EnginePage) -> None:
    kept, _ = _computed(engine, question=QUESTION)
    with open_page(browser, url) as page:
        page.load(SYSTEM, one_by_one=True)
        plain, computed = _computed(page, question=QUESTION)
        assert computed == _sum(plain, "forwardPositions") == _sum(kept, "forwardPositions")
        assert _sum(plain, "keptPositions") == 0
    for ours, theirs in zip(_states(kept), _states(plain), strict=True):
        assert relative_error(ours, theirs) < 1e-5
    assert kept["answerTokenIds"] == plain["answerTokenIds"]


def test_engine_after_a_cancelled_run_answers_the_same(engine: EnginePage) -> None:
    before, _ = _computed(engine, question=QUESTION)
    outcome = engine.page.evaluate(
        "(options) => window.harness.run(options, { kind: 'step', count: 5 })", {"question": "b>a " * 60, **OPTIONS}
    )
    assert outcome["error"]["code"] == "cancelled"
    after, _ = _computed(engine, question=QUESTION)
    assert all((ours == theirs).all() for ours, theirs in zip(_states(after), _states(before), strict=True))
