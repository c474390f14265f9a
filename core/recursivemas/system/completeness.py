"""Whether an answer has what `decoding.answer_retry` asks for: a box, a choice or a block of Python.

Source: docs/recursion.md, rule 5. These are the rules by which the paper's authors decide, so that systems with their
links go on where theirs do. tests/fixtures/completeness_cases.json runs against this and against its twin in the page.
"""

import re

from recursivemas.system.names import Complete

_BOX = (re.compile(r"\\boxed\{([^{}]+)\}"), re.compile(r"\\boxed\{(.*)\}"))
_FINAL = re.compile(r"final\s*(?:choice|answer)\s*:\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_NAMED = re.compile(r"(?:choice|option|answer)\s*[:-]?\s*[(\[]?\s*([A-D])\b", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"[(\[]?\s*([A-D])(?:\s*[)\]:.-]|$)", re.IGNORECASE)
_THOUGHT = re.compile(r"<think>.*?</think>", re.IGNORECASE | re.DOTALL)
_PYTHON = re.compile(r"```python\s*(.*?)```", re.IGNORECASE | re.DOTALL)


def is_complete(answer: str, needs: Complete) -> bool:
    """Whether an answer has what it needs."""
    if needs == "box":
        return boxed(answer) is not None
    if needs == "choice":
        return named_choice(answer) is not None
    return bool(code_block(answer))


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}`; one with braces in it counts if there is no other."""
    for box in _BOX:
        if found := box.findall(text):
            return str(found[-1]).strip()
    return None


def named_choice(text: str) -> str | None:
    """The letter from A to D that an answer names: in its box, else after 'Final answer:', else anywhere."""
    finals = _FINAL.findall(text)
    for candidate in (boxed(text), finals[-1] if finals else None, text):
        stripped = (candidate or "").strip()
        if found := _NAMED.search(stripped) or _LETTER_FIRST.match(stripped):
            return found[1].upper()
    return None


def code_block(text: str) -> str:
    """The content of the first block of Python outside a `<think>` part; empty if there is none."""
    found = _PYTHON.search(_THOUGHT.sub("", text))
    return "" if found is None else found[1].strip()
