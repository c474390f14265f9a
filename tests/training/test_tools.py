import pytest

from recursivemas.training.tools import answer_call, calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("6 * 5", "30"),
        ("1/3 + 1/3 + 1/3", "1"),
        ("-(2 + 3) * 4", "-20"),
        ("2 ^ 10", "1024"),
        ("0.1 + 0.2", "0.3"),
        ("7 / 2", "3.5"),
    ],
)
def test_calculate_is_exact(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').system('true')", "a + 1", "(1).real", "[1][0]", "1 if 1 else 2", "9**9**9", "10**60", "", "1 +",
     "True + 1", "(" * 150 + "1" + ")" * 150, "lambda: 1", "'a' * 9"],
)  # fmt: skip
def test_calculate_refuses_everything_else(expression: str) -> None:
    assert calculate(expression).startswith("error: ")


def test_calculate_divides_by_zero_politely() -> None:
    assert calculate("1 / (2 - 2)") == "error: division by zero"


def test_answer_call_waits_for_the_closing_tag_of_a_declared_tool() -> None:
    assert answer_call("so <calculator>6 * 5", ["calculator"]) is None
    assert answer_call("so <calculator> 6 * 5 </calculator>", ["calculator"]) == " <result> 30 </result>"
    assert answer_call("<calculator>6 * 5</calculator> then", ["calculator"]) is None
    assert answer_call("<calculator>6 * 5</calculator>", []) is None
