"""Calls to the GPU device are merged: few of them a step, and bit-equal results."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.engine_page import EnginePage, matrix, open_page
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

SYSTEM = "systems/hop-sequential/system.json"
AGENTS = 3
FEW, MANY = 2, 18
"""Latent steps of a turn; their difference is what the steps alone cost."""
MOST = {"bindGroups": 16, "writes": 16, "passes": 3}


def _calls_of_a_step(engine: EnginePage, question: str) -> dict[str, float]:
    counted = []
    for steps in (FEW, MANY):
        options: dict[str, Any] = {"rounds": 1, "latentSteps": steps, "decoding": {"maxNewTokens": 1}}
        engine.run(question, **options)
        before = engine.counters()
        engine.run(question, **options)
        after = engine.counters()
        counted.append({name: after[name] - before[name] for name in (*MOST, "dispatches")})
    few, many = counted
    return {name: (many[name] - few[name]) / (AGENTS * (MANY - FEW)) for name in few}


def test_merged_calls_are_few_and_change_no_bit(browser: Browser, url: str, reference: Recursion) -> None:
    assert reference.system.task is not None and reference.system.task.data is not None
    question = load_questions(reference.system.task.data)[0].question
    options: dict[str, Any] = {"rounds": 2, "latentSteps": 3, "trace": {"handoffs": True, "thoughts": True}}
    runs, calls = {}, {}
    for few_calls in (True, False):
        with open_page(browser, url) as engine:
            engine.load(SYSTEM, few_calls=few_calls)
            runs[few_calls] = [engine.run(question, **options) for _ in range(2)]
            calls[few_calls] = _calls_of_a_step(engine, question)
            assert engine.dispose()["liveBytes"] == 0
            assert engine.complaints == []
    for merged, plain in zip(runs[True], runs[False], strict=True):
        assert merged["answerTokenIds"] == plain["answerTokenIds"]
        for ours, theirs in zip(merged["handoffs"], plain["handoffs"], strict=True):
            assert (matrix(ours["states"]) == matrix(theirs["states"])).all()
        for ours, theirs in zip(merged["turns"], plain["turns"], strict=True):
            assert (matrix(ours["thoughts"]) == matrix(theirs["thoughts"])).all()
    print("calls of a step, merged and not:", calls[True], calls[False])
    assert calls[True]["dispatches"] == calls[False]["dispatches"]
    assert all(calls[True][name] <= most for name, most in MOST.items()), calls
    assert calls[False]["bindGroups"] == calls[False]["passes"] == calls[False]["dispatches"]
