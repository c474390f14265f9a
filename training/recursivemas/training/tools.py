"""Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.

Source: docs/recursion.md, rule 8. An expression is parsed and walked, never evaluated as code. The browser's twin is
web/src/engine/tools.ts; tests/fixtures/calculator_cases.json runs against both.
"""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from recursivemas.system.names import Tool

LONGEST_EXPRESSION = 200
LARGEST_EXPONENT = 64
LARGEST_MAGNITUDE = 10**50

_CALL = re.compile(r"<([a-z_]+)>([^<>]*)</\1>\s*$")
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


# What each tool of the reference answers; `search` is the page's alone.
TOOLS: dict[Tool, Callable[[str], str]] = {"calculator": calculate}


def answer_call(text: str, tools: Sequence[Tool]) -> str | None:
    """The text that follows in the context if `text` ends with a call of one of `tools`: ` <result> … </result>`."""
    found = _CALL.search(text)
    for tool in tools:
        if found is not None and found[1] == tool and tool in TOOLS:
            return f" <result> {TOOLS[tool](found[2])} </result>"
    return None
