"""The cases that the browser's twin (web/src/engine/tools.ts) is tested with, too."""

import json
from pathlib import Path

import pytest

from recursivemas.training.tools import answer_call, calculate

CASES = json.loads((Path(__file__).parents[1] / "fixtures/calculator_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES["calculate"], ids=lambda case: case["expression"][:30] or "nothing")
def test_calculate_agrees_with_the_browser(case: dict[str, str]) -> None:
    assert calculate(case["expression"]) == case["result"]


@pytest.mark.parametrize("case", CASES["answer"], ids=lambda case: case["text"][:30] or "nothing")
def test_answer_call_agrees_with_the_browser(case: dict[str, str]) -> None:
    assert answer_call(case["text"], case["tools"]) == case["follows"]
