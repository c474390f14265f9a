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
