import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.completeness import boxed, is_complete, named_choice

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "completeness_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['needs']}: {case['answer'][:30]}")
def test_is_complete_agrees_with_the_browser(case: dict[str, Any]) -> None:
    assert is_complete(case["answer"], case["needs"]) == case["complete"]


def test_boxed_and_named_choice_take_the_last_box_first() -> None:
    assert boxed(r"\boxed{1} so \boxed{ 2 }") == "2"
    assert boxed(r"\boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert named_choice("answer: A, no: \\boxed{(C) lake}") == "C"
    assert named_choice("answer: A\nFinal answer: b.") == "B"
