"""How an answer is judged: exact text, number, or choice."""

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from recursivemas.system.questions import QuestionRecord

Scoring = Literal["exact", "numeric", "choice"]

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_SPACES = re.compile(r"\s+")
_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])")


def normalise(text: str) -> str:
    """Case, surrounding punctuation and runs of spaces do not matter."""
    return _SPACES.sub(" ", text).strip().strip(".!").casefold()


def last_number(text: str) -> Decimal | None:
    """The last number of a text, thousands separators allowed; what `\\boxed{}` holds comes first."""
    boxed = _BOXED.findall(text)
    found = _NUMBER.findall(boxed[-1] if boxed else text)
    if not found:
        return None
    try:
        return Decimal(found[-1].replace(",", "").rstrip("."))
    except InvalidOperation:
        return None


def chosen(text: str, choices: tuple[str, ...]) -> int | None:
    """Index of the choice a text names: its text, else its letter (A is the first); the last one named counts."""
    plain = normalise(text)
    exact = [index for index, choice in enumerate(choices) if normalise(choice) == plain]
    if exact:
        return exact[0]
    letters = [ord(letter) - ord("A") for letter in _LETTER.findall(text)]
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
        record: The question with its right answer, and choices where `scoring` is `choice`.
        scoring: `exact` compares normalised text, `numeric` the last number, `choice` the named choice.
    """
    if scoring == "numeric":
        wanted = last_number(record.answer)
        return wanted is not None and last_number(answer) == wanted
    if scoring == "choice" and record.choices:
        wanted_index = chosen(record.answer, record.choices)
        return wanted_index is not None and chosen(answer, record.choices) == wanted_index
    return normalise(answer) == normalise(record.answer)
