"""Tools that the deciding agent calls by tag while it decodes: `<calculator>6 * 5</calculator>`.

Source: DESIGN, deliberation; docs/recursion.md, rule 8. An expression is parsed and walked, never evaluated as code.
"""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

LONGEST_EXPRESSION = 200
LARGEST_EXPONENT = 64
LARGEST_MAGNITUDE = 10**50

_CALL = re.compile(r"<(calculator)>([^<>]*)</\1>\s*$")
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression as text, exact where its decimals end, or `error: …`.

    Knows numbers, + - * / ** and brackets; everything else is an error.
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


def answer_call(text: str, tools: Sequence[str]) -> str | None:
    """What follows in the context when `text` ends with a tool's closing tag, `<result> … </result>`; else None."""
    found = _CALL.search(text)
    if found is None or found.group(1) not in tools:
        return None
    return f" <result> {calculate(found.group(2))} </result>"
