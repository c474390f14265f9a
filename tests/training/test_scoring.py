import pytest

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.statistics import over_seeds, wilson
from recursivemas.training.tasks.scoring import is_right


@pytest.mark.parametrize(
    ("answer", "right", "scoring", "expected"),
    [
        (" Paris. ", "paris", "exact", True),
        ("Paris, France", "Paris", "exact", False),
        ("so 1,234.50 in all", "1234.5", "numeric", True),
        (r"first 7, then \boxed{42} of 50", "42", "numeric", True),
        ("it is -3", "3", "numeric", False),
        ("no idea", "3", "numeric", False),
    ],
)
def test_is_right_exact_and_numeric(answer: str, right: str, scoring: str, expected: bool) -> None:
    assert is_right(answer, QuestionRecord(question="?", answer=right), scoring) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(B)", True),
        ("The answer is B.", True),
        ("green", True),
        ("A or B? A", False),
        ("I say red", False),
        ("", False),
    ],
)
def test_is_right_choice_reads_letter_or_text(answer: str, expected: bool) -> None:
    record = QuestionRecord(question="?", answer="green", choices=("red", "green"))
    assert is_right(answer, record, "choice") is expected


def test_wilson_agrees_with_published_values() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_over_seeds_widens_when_seeds_disagree() -> None:
    alike = over_seeds([[True] * 800 + [False] * 200] * 3)
    apart = over_seeds([[True] * 1000, [True] * 800 + [False] * 200, [True] * 600 + [False] * 400])
    assert (alike[0], apart[0]) == pytest.approx((0.8, 0.8))
    assert apart[2] - apart[1] > 3 * (alike[2] - alike[1])
