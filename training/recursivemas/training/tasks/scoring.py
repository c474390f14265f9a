"""How an answer is compared with the right one: text, number, choice or expression.

The page's twin is web/src/ui/task/score.ts, which does not compare expressions. The tests run
tests/fixtures/scoring_cases.json against both.
"""

import re
import threading
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.names import Scoring
from recursivemas.system.questions import QuestionRecord

_NUMBER = r"(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_GROUP = r"\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\d)"
# A number or a fraction, in named groups. Terms that are no rational number are in no named group: a root, pi, a power,
# and quotients of them. The group `index` is a letter's exponent or index, which does not count. Degrees and ordinals
# are no powers.
_TERM = re.compile(
    rf"(?:{_NUMBER})?\s*(?:\\?sqrt(?:\[[^\]]*\])?(?:{_GROUP}|\s*\([^()]*\))|√\s*\(?(?:{_NUMBER})?|\\pi|π)"
    rf"|{_NUMBER}\s*\^(?!\s*\{{\s*(?:\\|[a-z]{{2}}))(?:{_GROUP}|[-+]?\d+)"
    r"|(?P<index>(?<=[A-Za-z)}\]])[\^_](?:\{[^{}]*\}|[-+]?\d+))"
    r"|(?P<sign>(?<![\w.)}\]])[-+])?(?:"
    rf"(?P<whole>{_NUMBER})?\s*\\[dt]?frac(?:\s*\{{\s*(?P<top>[-+]?{_NUMBER})\s*\}}\s*\{{\s*(?P<bottom>[-+]?{_NUMBER})"
    rf"\s*\}}|(?P<digits>\d\d)|{_GROUP}{_GROUP})"
    rf"|(?P<number>{_NUMBER})(?:\s*/\s*(?P<divisor>{_NUMBER}))?)"
    rf"|/\s*{_NUMBER}",
    re.ASCII,
)
_BRACE = re.compile(r"(?:\\boxed)?\{|\}")
# What JavaScript takes for white space, so that the page judges alike.
_SPACE = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_SPACES = re.compile(rf"[{_SPACE}]+")
_TEXT_MACRO = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox) ?\{([^{}]*)\}", re.ASCII)
_LAYOUT = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[,;:! ]|\\?\$", re.ASCII)
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_AROUND_SIGNS = re.compile(r" ?([-+*/=<>(){}\[\],^_|\\:]) ?", re.ASCII)
_ALONE = re.compile(r"[\W_]*([A-Z])[\W_]*", re.ASCII)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LETTER = re.compile(
    r"[(\[{]\s*([A-Z])\s*[)\]}]|\b(?:[Aa]nswer|ANSWER)\s*(?:is|IS|:)[^A-Za-z0-9]*(?:(?:option|choice)\s+)?"
    r"([A-Z])(?![A-Za-z0-9'’])|\b(?:[Oo]ption|[Cc]hoice)\s+[^A-Za-z0-9\s]{0,2}([A-Z])(?![A-Za-z0-9'’])"
    r"|(?:^|\n)[^A-Za-z0-9\n]*([A-Z])[):]|\b([A-Z])\s+is\s+(?:the\s+)?(?:correct|right)\b"
    rf"|\b((?i:{'|'.join(_ORDINALS)}))\s+(?:option|choice|one)\b"
    rf"|\b(?:[Oo]ption|[Cc]hoice)\s+(?:number\s+)?((?i:{'|'.join(_CARDINALS)}))\b",
    re.ASCII,
)
_LARGEST_EXPONENT = 400


def normalise(text: str) -> str:
    """Text without the differences that do not matter: case, surrounding punctuation, runs of spaces."""
    return _SPACES.sub(" ", text).strip(" ").strip(".!").lower()


def plain_expression(text: str) -> str:
    """An expression, or that in its `\\boxed{}`, without `\\text`, `\\left`, `$`, spaces at signs and other layout."""
    inside = boxed(text) or text
    bare = _LAYOUT.sub("", _TEXT_MACRO.sub(r"\1", _SPACES.sub(" ", inside)))
    return normalise(_AROUND_SIGNS.sub(r"\1", _FRACTION.sub(r"\\frac", _SPACES.sub(" ", bare))))


def boxed(text: str) -> str | None:
    """The contents of the last complete `\\boxed{}`, braces within it included."""
    begin = end = 0
    opened: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace.end() if len(brace[0]) > 1 else 0)
        elif opened and (inside := opened.pop()) > begin:
            begin, end = inside, brace.start()
    return text[begin:end] if begin else None


def last_number(text: str) -> Fraction | None:
    """The last number of a text, or of its `\\boxed{}`; fractions and thousands separators are allowed.

    None if there is none, or if the last term is no rational number, such as a root.
    """
    found = boxed(text)
    values = numbers(text if found is None else found)
    return values[-1] if values else None


def numbers(text: str) -> list[Fraction | None]:
    """Every term of a text; None for a term that is no rational number."""
    return [_value(term) for term in _TERM.finditer(_SPACES.sub(" ", text)) if term["index"] is None]


def last_place(text: str, words: str) -> int:
    """Where the last occurrence of `words` as whole words ends in a text; -1 if there is none. Both are normalised."""
    end = len(text)
    while words and (begin := text.rfind(words, 0, end)) >= 0:
        after = begin + len(words)
        before_word = begin > 0 and _is_word(words[0]) and _is_word(text[begin - 1])
        if not before_word and not (after < len(text) and _is_word(words[-1]) and _is_word(text[after])):
            return after
        end = after - 1
    return -1


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _value(term: re.Match[str]) -> Fraction | None:
    if term["number"] is not None:
        parts = [term["number"], term["divisor"] or "1", "0"]
    elif term["top"] is not None:
        parts = [term["top"], term["bottom"], term["whole"] or "0"]
    elif term["digits"] is not None:
        parts = [*term["digits"], term["whole"] or "0"]
    else:
        return None
    top, bottom, whole = (_decimal(part) for part in parts)
    if top is None or whole is None or not bottom:
        return None
    value = whole + top / bottom
    return -value if term["sign"] == "-" else value


def _decimal(text: str) -> Fraction | None:
    try:
        value = Decimal(text.replace(",", "").rstrip("."))
    except InvalidOperation:
        return None
    # A Fraction writes out a huge exponent digit by digit.
    return Fraction(value) if value.is_finite() and abs(value.adjusted()) <= _LARGEST_EXPONENT else None


def chosen(text: str, choices: tuple[str, ...]) -> int | None:
    """Index of the choice that a text names by its text, its letter (A is the first) or its place; the last one counts.

    A letter counts only alone, in brackets, before a bracket or colon at the start of a line, after `option`,
    `answer is` or `answer:`, or before `is correct`; elsewhere `A` and `I` are words. A place is as in `the second
    option` or `option two`. The text of a choice counts as whole words, and only if no letter or place is named.
    """
    plain = normalise(text)
    exact = [index for index, choice in enumerate(choices) if normalise(choice) == plain]
    if exact:
        return exact[0]
    alone = _ALONE.fullmatch(text)
    named_by = [alone[1]] if alone else ["".join(groups) for groups in _LETTER.findall(text)]
    valid = [index for index in map(_place, named_by) if index < len(choices)]
    if valid:
        return valid[-1]
    # Of two choices that end at the same place, the longer one is named: `York` is part of `New York`.
    ends = [(last_place(plain, normalise(choice)), len(choice), -index) for index, choice in enumerate(choices)]
    end, _, index = max(ends)
    return None if end < 0 else -index


def _place(name: str) -> int:
    """The index that a letter, or a word such as `second` or `two`, stands for."""
    word = name.lower()
    if len(word) == 1:
        return ord(word) - ord("a")
    return (_ORDINALS if word in _ORDINALS else _CARDINALS).index(word)


def same_expression(answer: str, right: str) -> bool:
    """Whether two texts hold the same mathematical expression, whatever its form.

    Raises:
        InputError: math-verify is not installed.
    """
    try:
        import math_verify
    except ImportError:
        raise InputError("scoring 'math' needs math-verify; run: pip install 'recursivemas[train]'") from None
    # Time limits work in the main thread only, by signals.
    limit = 5 if threading.current_thread() is threading.main_thread() else None

    def parsed(text: str, alone: bool) -> list[Any]:
        source = f"${text.strip().strip('$').rstrip('.')}$" if alone else text
        return list(math_verify.parse(source, parsing_timeout=limit))

    inside = boxed(right)
    wanted = parsed(right if inside is None else inside, True)
    said = boxed(answer)
    # Prose with an expression in it is searched for one; a text that is an expression by itself is read whole.
    found = [parsed(answer, False), parsed(answer if said is None else said, True)]
    return any(math_verify.verify(wanted, each, timeout_seconds=limit) for each in found)


def is_right(answer: str, record: QuestionRecord, scoring: Scoring) -> bool:
    """Whether an answer is right.

    Args:
        answer: What the system wrote.
        record: The question with its right answer, and its choices if `scoring` is `choice`.
        scoring: `exact` compares normalised text; `contains` looks for it in the answer; `numeric` compares the last
            number, `any_number` every number (text if the right answer is no number); `choice` compares the named
            choice; `math` compares expressions.
    """
    wanted = last_number(record.answer)
    if scoring == "choice" and record.choices:
        wanted_index = chosen(record.answer, record.choices)
        return wanted_index is not None and chosen(answer, record.choices) == wanted_index
    if scoring == "any_number" and wanted is not None:
        return wanted in numbers(answer)
    if scoring in ("contains", "any_number"):
        return last_place(normalise(answer), normalise(record.answer)) >= 0
    if scoring in ("numeric", "math") and plain_expression(answer) == plain_expression(record.answer):
        return True
    if scoring == "numeric":
        return wanted is not None and last_number(answer) == wanted
    if scoring == "math":
        return same_expression(answer, record.answer)
    return normalise(answer) == normalise(record.answer)
