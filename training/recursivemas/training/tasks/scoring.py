"""How an answer is compared with the right one: exact text, number, or choice.

The page's twin is web/src/ui/task/score.ts; tests/fixtures/scoring_cases.json runs against both.
"""

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

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
_SPACES = re.compile(r"\s+")
_ALONE = re.compile(r"[\W_]*([A-Z])[\W_]*", re.ASCII)
_LETTER = re.compile(
    r"[(\[{]\s*([A-Z])\s*[)\]}]|\b(?:[Aa]nswer|ANSWER)\s*(?:is|IS|:)[^A-Za-z0-9]*(?:(?:option|choice)\s+)?"
    r"([A-Z])(?![A-Za-z0-9'’])",
    re.ASCII,
)
_LARGEST_EXPONENT = 400


def normalise(text: str) -> str:
    """Text without the differences that do not matter: case, surrounding punctuation, runs of spaces."""
    return _SPACES.sub(" ", text).strip().strip(".!").casefold()


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
    terms = [
        term for term in _TERM.finditer(_SPACES.sub(" ", text if found is None else found)) if term["index"] is None
    ]
    return _value(terms[-1]) if terms else None


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
    """Index of the choice that a text names by its text, else by its letter (A is the first); the last one counts.

    A letter counts only alone, in brackets, or after `answer is` or `answer:`; elsewhere `A` and `I` are words.
    """
    plain = normalise(text)
    exact = [index for index, choice in enumerate(choices) if normalise(choice) == plain]
    if exact:
        return exact[0]
    alone = _ALONE.fullmatch(text)
    named_by = [alone[1]] if alone else [first or second for first, second in _LETTER.findall(text)]
    letters = [ord(letter) - ord("A") for letter in named_by]
    valid = [index for index in letters if index < len(choices)]
    if valid:
        return valid[-1]
    places = {index: plain.rfind(normalise(choice)) for index, choice in enumerate(choices)}
    named = {index: place for index, place in places.items() if place >= 0}
    return max(named, key=lambda index: named[index]) if named else None


def is_right(answer: str, record: QuestionRecord, scoring: Scoring) -> bool:
    """Whether an answer is right.

    Args:
        answer: What the system wrote.
        record: The question with its right answer, and its choices if `scoring` is `choice`.
        scoring: `exact` compares normalised text, `numeric` the last number (text if the right answer is no number),
            `choice` the named choice.
    """
    if scoring == "numeric":
        wanted = last_number(record.answer)
        if wanted is not None:
            return last_number(answer) == wanted
        return normalise(boxed(answer) or answer) == normalise(boxed(record.answer) or record.answer)
    if scoring == "choice" and record.choices:
        wanted_index = chosen(record.answer, record.choices)
        return wanted_index is not None and chosen(answer, record.choices) == wanted_index
    return normalise(answer) == normalise(record.answer)
