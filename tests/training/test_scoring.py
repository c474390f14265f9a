import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.evaluation.statistics import over_seeds, wilson
from recursivemas.training.tasks.scoring import is_right

CASES = json.loads((Path(__file__).parents[1] / "fixtures/scoring_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['answer']} for {case['right']}")
def test_is_right_agrees_with_the_cases_that_the_page_shares(case: dict[str, Any]) -> None:
    record = QuestionRecord(question="?", answer=case["right"], choices=case.get("choices"))
    assert is_right(case["answer"], record, case["scoring"]) is case["expected"]


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        ("Evelyn", r"\text{Evelyn}", True),
        (r"so \boxed{\text{Evelyn}}", r"\text{Evelyn}", True),
        ("Marie", r"\text{Evelyn}", False),
        (r"(3, \pi/2)", r"\left( 3, \frac{\pi}{2} \right)", True),
        ("It is $(3,4)$.", r"\left( 3, 4 \right)", True),
        ("(4, 3)", r"\left( 3, 4 \right)", False),
        ("-q + p", "p - q", True),
        ("q - p", "p - q", False),
        (r"The answer is \boxed{p-q}.", "p - q", True),
        (r"14\sqrt2", r"\sqrt{392}", True),
        ("0.75", r"\frac{3}{4}", True),
        (r"\boxed{\frac{6}{8}}", r"so \boxed{\frac34}", True),
        ("I do not know.", r"\frac{3}{4}", False),
        ("", "p - q", False),
    ],
)
def test_is_right_of_expressions_takes_any_form(answer: str, right: str, expected: bool) -> None:
    assert is_right(answer, QuestionRecord(question="?", answer=right), "math") is expected


def test_wilson_agrees_with_published_values() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_holds_the_accuracy_for_every_count() -> None:
    for total in range(1, 700):
        assert wilson(0, total)[0] == 0
        assert wilson(total, total)[1] == 1
        low, high = wilson(total // 3, total)
        assert low <= (total // 3) / total <= high


def test_over_seeds_widens_when_seeds_disagree() -> None:
    alike = over_seeds([[True] * 800 + [False] * 200] * 3)
    apart = over_seeds([[True] * 1000, [True] * 800 + [False] * 200, [True] * 600 + [False] * 400])
    assert (alike[0], apart[0]) == pytest.approx((0.8, 0.8))
    assert apart[2] - apart[1] > 3 * (alike[2] - alike[1])
