"""Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.

Source: docs/recursion.md, rule 8. An expression is parsed and walked, never evaluated as code; programs run in a
process with limits. The browser's twin is web/src/engine/tools.ts; tests/fixtures/calculator_cases.json runs against
both.
"""

import ast
import operator
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from recursivemas.system.errors import InputError
from recursivemas.system.names import Tool
from recursivemas.system.system import Agent
from recursivemas.training.evaluation.code_process import require_limits, run_code

LONGEST_EXPRESSION = 200
LARGEST_EXPONENT = 64
LARGEST_MAGNITUDE = 10**50
LONGEST_RESULT = 6000
SEARCH_SECONDS = 30

_CALL = re.compile(r"<([a-z_]+)>([^<>]*)</\1>\s*$")
_PROGRAM = re.compile(r"<python>((?:(?!</?python>).)*)</python>\s*$", re.DOTALL)
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression as text, or `error: …`; decimals that do not end are rounded.

    It knows numbers, + - * / ** and brackets; everything else is an error.
    """
    text = expression.strip()
    if len(text) > LONGEST_EXPRESSION:
        return f"error: longer than {LONGEST_EXPRESSION} characters"
    try:
        return _shown(_value(ast.parse(text.replace("^", "**"), mode="eval").body))
    except ZeroDivisionError:
        return "error: division by zero"
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "error: not an arithmetic expression"


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            result = Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            result = -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            result = _value(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _value(right)
            if exponent.denominator != 1 or abs(exponent) > LARGEST_EXPONENT:
                raise ValueError("exponent")
            result = _value(left) ** int(exponent)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            result = _BINARY[type(op)](_value(left), _value(right))
        case _:
            raise ValueError(ast.dump(node))
    if abs(result) > LARGEST_MAGNITUDE or result.denominator > LARGEST_MAGNITUDE:
        raise ValueError("too large")
    return result


def _shown(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"


@dataclass(frozen=True)
class ToolAccess:
    """Which tools a run may use beside those that only compute.

    Attributes:
        python: Whether an agent that declares the tool `python` may run programs.
        search: The words of a command that reads a query from standard input and prints what it found; None for no
            search.
    """

    python: bool = False
    search: tuple[str, ...] | None = None

    def check(self, agent: Agent) -> None:
        """Checks that what was asked for can be had.

        Args:
            agent: The deciding agent.

        Raises:
            InputError: It cannot, or the agent does not declare it.
        """
        asked: tuple[tuple[Tool, bool], ...] = (("python", self.python), ("search", self.search is not None))
        for tool, wanted in asked:
            if wanted and tool not in agent.tools:
                raise InputError(f"agent {agent.id!r} has no tool {tool!r}; add it to the agent's 'tools'")
        if self.python:
            require_limits("tool 'python'")
        if self.search is not None and (not self.search or shutil.which(self.search[0]) is None):
            raise InputError(
                f"tool 'search': no program {' '.join(self.search)!r}; give the command of a program that reads a "
                "query from standard input and prints what it found"
            )


def answer_call(
    text: str, tools: Sequence[Tool], access: ToolAccess | None = None, calls: int = 0, most: int | None = None
) -> str | None:
    """The text that follows in the context if `text` ends with a call of one of `tools`: ` <result> … </result>`.

    Args:
        text: What the agent has written.
        tools: Those that it declares.
        access: Which of them it may use; a call of another one is ordinary text.
        calls: How many calls it has made before.
        most: How many calls it may make; any number by default.
    """
    access = access or ToolAccess()
    perform: dict[Tool, Callable[[str], str] | None] = {
        "calculator": calculate,
        "python": _run_program if access.python else None,
        "search": None if access.search is None else lambda query: _search(access.search or (), query),
    }
    for tool in tools:
        found = _PROGRAM.search(text) if tool == "python" else _CALL.search(text)
        answer = perform[tool]
        if found is not None and answer is not None and (tool == "python" or found[1] == tool):
            refused = most is not None and calls >= most
            result = f"error: no more than {most} calls" if refused else answer(found[found.lastindex or 0])
            return f" <result> {_bounded(result)} </result>"
    return None


def _bounded(result: str) -> str:
    """A result that cannot end its tag early or fill the context."""
    text = result.replace("</result>", "< /result>")
    return text if len(text) <= LONGEST_RESULT else f"{text[:LONGEST_RESULT]}… ({len(text)} characters)"


def _run_program(program: str) -> str:
    """What a program prints, else the last line of its error."""
    run = run_code(program.strip())
    if run.stopped is not None:
        return f"error: stopped, too much {run.stopped}"
    printed, problem = run.stdout.strip(), run.stderr.strip().rpartition("\n")[2]
    if run.exit_code == 0:
        return printed or "the program printed nothing"
    return f"{printed}\nerror: {problem}".strip()


def _search(command: Sequence[str], query: str) -> str:
    try:
        done = subprocess.run(
            command, input=query.strip(), capture_output=True, text=True, timeout=SEARCH_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        return f"error: the search failed: {' '.join(str(error).split())[:200]}"
    return done.stdout.strip() or "nothing found"
