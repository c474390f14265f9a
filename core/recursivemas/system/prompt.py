"""Prompt templates with `{question}` and `{latent:<edge id>}` slots.

Source: docs/recursion.md, rule 2. The browser's twin is web/src/engine/prompt.ts; tests/fixtures/prompt_cases.json is
run against both.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from recursivemas.system.errors import InputError

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True)
class Question:
    """The slot of the question.

    Attributes:
        trim_start: Whether the question loses the white space at its start.
        trim_end: Whether the question loses the white space at its end.
    """

    trim_start: bool = False
    trim_end: bool = False


@dataclass(frozen=True)
class Latent:
    """The slot of an edge's hand-off: (M, D) input embeddings, or the sender's text in text mode."""

    edge: str


Segment: TypeAlias = Text | Question | Latent


def parse_template(template: str) -> tuple[Segment, ...]:
    """Splits a template at its slots; `{{` and `}}` are literal braces.

    Args:
        template: The prompt as written in `systems/*.yaml`.

    Returns:
        The segments in order; neighbouring literal text is one `Text`.

    Raises:
        InputError: The template has an unbalanced brace or an unknown slot.
    """
    segments: list[Segment] = []
    literal: list[str] = []

    def flush() -> None:
        if text := "".join(literal):
            segments.append(Text(text))
        literal.clear()

    end = 0
    for match in _TOKEN.finditer(template):
        literal.append(template[end : match.start()])
        end = match.end()
        token, slot = match.group(0), match.group(1)
        if token in ("{{", "}}"):
            literal.append(token[0])
        elif slot is None:
            raise InputError(
                f"prompt {template!r}: unbalanced {token!r} at character {match.start()}; "
                f"write {token * 2!r} for a literal brace"
            )
        else:
            flush()
            segments.append(_slot(slot, template))
    literal.append(template[end:])
    flush()
    return tuple(segments)


def _slot(slot: str, template: str) -> Segment:
    if slot == "question":
        return Question()
    if slot.startswith("latent:") and len(slot) > len("latent:"):
        return Latent(slot.removeprefix("latent:"))
    raise InputError(
        f"prompt {template!r}: unknown slot {{{slot}}}; known are {{question}} and {{latent:<edge id>}}, "
        "and '{{' or '}}' for literal braces"
    )


def trim_ends(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Removes white space from the ends of a template, as a chat template does that trims the message."""
    trimmed = list(segments)
    for at in (0, -1):
        while isinstance(end := trimmed[at], Text) and not end.text.strip():
            del trimmed[at]
        if isinstance(end, Text):
            trimmed[at] = Text(end.text.lstrip() if at == 0 else end.text.rstrip())
        elif isinstance(end, Question):
            trimmed[at] = Question(end.trim_start or at == 0, end.trim_end or at == -1)
    return tuple(trimmed)


def fill(segments: Iterable[Segment], question: str) -> tuple[Text | Latent, ...]:
    """Fills in the question and joins neighbouring text, because each run of text is tokenised as one string.

    Args:
        segments: A parsed template.
        question: The question; braces in it have no meaning.

    Returns:
        `Text` and `Latent` segments. No `Text` is empty, and no two are neighbours.
    """
    filled: list[Text | Latent] = []
    for segment in segments:
        if isinstance(segment, Latent):
            filled.append(segment)
            continue
        text = segment.text if isinstance(segment, Text) else _trimmed(segment, question)
        if text and filled and isinstance(filled[-1], Text):
            filled[-1] = Text(filled[-1].text + text)
        elif text:
            filled.append(Text(text))
    return tuple(filled)


def _trimmed(place: Question, question: str) -> str:
    text = question.lstrip() if place.trim_start else question
    return text.rstrip() if place.trim_end else text


def latent_edges(segments: Iterable[Segment]) -> tuple[str, ...]:
    """Returns the edge ids of a template's latent slots, in order."""
    return tuple(segment.edge for segment in segments if isinstance(segment, Latent))
