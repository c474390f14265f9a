import sys
from pathlib import Path

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.system import Agent
from recursivemas.training.evaluation.code_process import refusal
from recursivemas.training.tools import ToolAccess, answer_call, calculate


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


def test_answer_call_runs_a_program_only_where_that_is_allowed() -> None:
    text = "so <python>print(sum(x for x in range(5) if x < 3))</python>"
    assert answer_call(text, ["python"]) is None
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    allowed = ToolAccess(python=True)
    assert answer_call(text, ["python"], allowed) == " <result> 3 </result>"
    assert answer_call(text, ["calculator"], allowed) is None
    assert answer_call("<python>1/0</python>", ["python"], allowed) == (
        " <result> error: ZeroDivisionError: division by zero </result>"
    )
    assert answer_call(text, ["python"], allowed, calls=2, most=2) == " <result> error: no more than 2 calls </result>"
    assert answer_call("<python>print('</' + 'result>' * 1)</python>", ["python"], allowed) == (
        " <result> < /result> </result>"
    )


def test_answer_call_searches_with_the_users_command(tmp_path: Path) -> None:
    script = tmp_path / "find.py"
    script.write_text("import sys; q = sys.stdin.read(); print('found', q) if q != 'x' else sys.exit(3)")
    access = ToolAccess(search=(sys.executable, str(script)))
    assert answer_call("<search> lake Baikal </search>", ["search"], access) == (
        " <result> found lake Baikal </result>"
    )
    assert "error: the search failed" in (answer_call("<search>x</search>", ["search"], access) or "")
    assert answer_call("<search>x</search>", ["search"]) is None


def test_tool_access_refuses_in_one_line_what_it_cannot_have() -> None:
    agent = Agent(id="a", role="a", model="m", prompt="{question}", tools=("search",))
    with pytest.raises(InputError, match="agent 'a' has no tool 'python'; add it"):
        ToolAccess(python=True).check(agent)
    with pytest.raises(InputError, match="tool 'search': no program 'no-such-program -x'"):
        ToolAccess(search=("no-such-program", "-x")).check(agent)
