"""How the authors' runner judges an answer, restated, so that its figures can be compared with ours.

Its errors are kept: an answer whose first number has the same whole part is right, and so is one with the same digits;
a choice that cannot be read counts as A. `tasks/scoring.py` has the correct rules. The tests compare the verdicts with
those of a copy of the authors' code, if one is named.
"""

import re
from collections.abc import Callable, Sequence

from recursivemas.system.completeness import boxed, named_choice

_FINAL_ANSWER = re.compile(r"final\s+answer\s*:\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_TEXT_MACRO = re.compile(r"\\text\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\{\s*(-?\d+)\s*\}\{\s*(-?\d+)\s*\}")
_NUMBER = re.compile(r"(-?\d+)(?:\.\d+)?")
_DIGIT = re.compile(r"\d")
_LABEL = re.compile(r"[A-D]\s*[.):-]\s*", re.IGNORECASE)
_UNREAD_CHOICE = "A"


def released_choice_is_right(answer: str, right_letter: str) -> bool:
    """Whether the letter that an answer names is the right one; an answer that names none says A."""
    return (named_choice(answer) or _UNREAD_CHOICE) == (named_choice(right_letter) or _UNREAD_CHOICE)


def released_right_letter(answer: str, options: Sequence[str]) -> str:
    """The letter that the runner takes for right in MedQA, where the right answer is a text.

    Args:
        answer: The right answer's text.
        options: The options, each with its letter before it. The first one counts that is a part of the answer, or of
            which the answer is a part.
    """
    if (letter := named_choice(answer)) is not None:
        return letter
    wanted = _option_text(answer)
    for option in options:
        letter, text = named_choice(option), _option_text(option)
        if letter is not None and wanted and (wanted in text or text in wanted):
            return letter
    return _UNREAD_CHOICE


def _option_text(text: str) -> str:
    stripped = text.strip()
    label = _LABEL.match(stripped)
    return " ".join(stripped[label.end() if label else 0 :].split()).lower()


def released_mathematics_is_right(answer: str, right: str) -> bool:
    """Whether two answers agree in any of four readings: whole part, LaTeX without layout, no white space, digits."""
    said = _said(answer)
    return said != "" and any(read(said) == wanted for read in _READINGS if (wanted := read(right.strip())))


def _said(answer: str) -> str:
    """What an answer says in the end: its box, else its last line `Final answer: …`, else all of it."""
    inside = boxed(answer)
    if inside is not None:
        return inside
    finals = _FINAL_ANSWER.findall(answer)
    return (finals[-1].strip() if finals else "") or answer.strip()


def _whole_part(text: str) -> str:
    """The whole part of the first number; a fraction of integers is divided before."""
    plain = _FRACTION.sub(_divided, _TEXT_MACRO.sub(r"\1", text.strip()))
    for layout in ("\\left", "\\right", ",", "\\circ"):
        plain = plain.replace(layout, "")
    found = _NUMBER.search(plain)
    try:
        return "" if found is None else str(int(found[1]))
    except ValueError:  # more digits than Python converts
        return ""


def _divided(fraction: re.Match[str]) -> str:
    try:
        return str(int(fraction[1]) / int(fraction[2]))
    except (ArithmeticError, ValueError):
        return fraction[0]


def _without_layout(text: str) -> str:
    plain = _TEXT_MACRO.sub(r"\1", text)
    for layout in ("\\left", "\\right", "$", "\\,", "\\;", "\\!", "\\:", "{", "}", '"', "'"):
        plain = plain.replace(layout, "")
    return _without_spaces(plain)


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _digits(text: str) -> str:
    """The digits before the first point, whatever stands between them."""
    digits = "".join(_DIGIT.findall(text.partition(".")[0]))
    return digits.lstrip("0") or digits[-1:]


_READINGS: tuple[Callable[[str], str], ...] = (_whole_part, _without_layout, _without_spaces, _digits)
