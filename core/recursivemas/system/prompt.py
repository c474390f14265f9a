"""Prompt templates with `{question}`, `{field}`, `{latent:<edge id>}` slots and conditional text.

Source: docs/recursion.md, rule 2. The browser's twin is web/src/engine/prompt.ts; tests/fixtures/prompt_cases.json is
run against both.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from recursivemas.system.errors import InputError
from recursivemas.system.strict import DEEPEST

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_IF = re.compile(rf"if +({_NAME})(?: *(!?=)(.*))?", re.DOTALL)
RESERVED_FIELDS = frozenset({"answer", "fields", "if", "else", "end"})
"""Names that no field of a prompt can have."""

Trim: TypeAlias = Literal["end"] | bool


@dataclass(frozen=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True)
class Field:
    """The slot of a column of the question record, such as `question`."""

    name: str


@dataclass(frozen=True)
class Latent:
    """The slot of an edge's hand-off: (M, D) input embeddings, or the sender's text in text mode."""

    edge: str


@dataclass(frozen=True)
class Condition:
    """Text that depends on a column of the question record.

    Attributes:
        field: Name of the column.
        value: The text that the column is compared with; None asks whether the question has the column and it is not
            empty.
        equal: Whether the condition holds where the text is the same, or where it is another one.
        then: What stands where the condition holds.
        otherwise: What stands where it does not.
    """

    field: str
    value: str | None
    equal: bool
    then: "tuple[Segment, ...]"
    otherwise: "tuple[Segment, ...]" = ()

    def branch(self, values: Mapping[str, str]) -> "tuple[Segment, ...]":
        """What stands for a question with these columns."""
        found = values.get(self.field, "")
        holds = bool(found) if self.value is None else (found == self.value) == self.equal
        return self.then if holds else self.otherwise


Segment: TypeAlias = Text | Field | Latent | Condition


def parse_template(template: str) -> tuple[Segment, ...]:
    """Splits a template at its slots and conditions; `{{` and `}}` are literal braces.

    Args:
        template: The prompt as written in `systems/*.yaml`.

    Returns:
        The segments in order; neighbouring literal text is one `Text`.

    Raises:
        InputError: The template has an unbalanced brace, an unknown slot or a condition that does not end.
    """
    tokens = _tokens(template)
    segments, closed_by = _block(tokens, template)
    if closed_by is not None:
        raise InputError(f"prompt {template!r}: {{{closed_by}}} without an {{if …}} before it")
    return segments


def _tokens(template: str) -> Iterator[Text | str]:
    """Literal text as `Text`, and the content of each slot."""
    end = 0
    literal = ""
    for match in _TOKEN.finditer(template):
        literal += template[end : match.start()]
        end = match.end()
        token, slot = match.group(0), match.group(1)
        if token in ("{{", "}}"):
            literal += token[0]
        elif slot is None:
            raise InputError(
                f"prompt {template!r}: unbalanced {token!r} at character {match.start()}; "
                f"write {token * 2!r} for a literal brace"
            )
        else:
            if literal:
                yield Text(literal)
            literal = ""
            yield slot
    if literal := literal + template[end:]:
        yield Text(literal)


def _block(
    tokens: Iterator[Text | str], template: str, inside: str | None = None, depth: int = 0
) -> tuple[tuple[Segment, ...], str | None]:
    """Segments up to `{else}`, `{end}` or the end of the template, and which of the first two it was."""
    segments: list[Segment] = []
    for token in tokens:
        if isinstance(token, Text):
            segments.append(token)
        elif token in ("else", "end"):
            return tuple(segments), token
        elif token.startswith("if "):
            segments.append(_condition(token, tokens, template, depth + 1))
        else:
            segment = _slot(token, template)
            if inside is not None and isinstance(segment, Latent):
                raise InputError(
                    f"prompt {template!r}: {{{token}}} stands inside {{{inside}}}; a hand-off cannot depend on a "
                    "field, so move it out"
                )
            segments.append(segment)
    return tuple(segments), None


def _condition(opening: str, tokens: Iterator[Text | str], template: str, depth: int) -> Condition:
    if depth > DEEPEST:
        raise InputError(f"prompt {template[:60]!r}…: more than {DEEPEST} conditions inside each other")
    found = _IF.fullmatch(opening)
    if found is None or found[1] in RESERVED_FIELDS:
        raise InputError(
            f"prompt {template!r}: {{{opening}}} cannot be read; write {{if field}}, {{if field = value}} or "
            "{if field != value}"
        )
    name, operator, value = found[1], found[2], found[3]
    then, closed_by = _block(tokens, template, opening, depth)
    otherwise: tuple[Segment, ...] = ()
    if closed_by == "else":
        otherwise, closed_by = _block(tokens, template, opening, depth)
    if closed_by != "end":
        came = "a second {else}" if closed_by else "the end of the prompt"
        raise InputError(f"prompt {template!r}: {{{opening}}} needs an {{end}} before {came}")
    return Condition(name, None if value is None else value.strip(), operator != "!=", then, otherwise)


def _slot(slot: str, template: str) -> Segment:
    if slot.startswith("latent:") and len(slot) > len("latent:"):
        return Latent(slot.removeprefix("latent:"))
    if re.fullmatch(_NAME, slot) and slot not in RESERVED_FIELDS:
        return Field(slot)
    raise InputError(
        f"prompt {template!r}: unknown slot {{{slot}}}; known are {{question}}, other columns of the questions but the "
        "answer, {latent:<edge id>} and {if …}, and '{{' or '}}' for literal braces"
    )


def missing_field(segments: Iterable[Segment], values: Mapping[str, str]) -> str | None:
    """The first column that a prompt needs for a question and the question does not have; None if there is none.

    A prompt needs the columns that it shows and those that it compares; `{if field}` alone needs none.
    """
    for segment in segments:
        if isinstance(segment, Field) and segment.name not in values:
            return segment.name
        if isinstance(segment, Condition):
            if segment.value is not None and segment.field not in values:
                return segment.field
            if found := missing_field(segment.branch(values), values):
                return found
    return None


def field_names(segments: Iterable[Segment]) -> tuple[str, ...]:
    """Every column that a prompt may show or ask about, each once, in order."""
    names: list[str] = []
    for segment in segments:
        if isinstance(segment, Field):
            names.append(segment.name)
        elif isinstance(segment, Condition):
            names += [segment.field, *field_names(segment.then), *field_names(segment.otherwise)]
    return tuple(dict.fromkeys(names))


def fill(segments: Iterable[Segment], values: Mapping[str, str], trim: Trim = False) -> tuple[Text | Latent, ...]:
    """Fills in a question's columns and joins neighbouring text, because each run of text is tokenised as one string.

    Args:
        segments: A parsed template.
        values: The columns by name, `question` among them; braces in them have no meaning.
        trim: Whether the prompt loses the white space at its ends, or at its end alone, as a chat template does that
            trims the message.

    Returns:
        `Text` and `Latent` segments. No `Text` is empty, and no two are neighbours.
    """
    filled = joined(_chosen(segments, values))
    if trim and filled and isinstance(filled[-1], Text):
        filled = (*filled[:-1], Text(filled[-1].text.rstrip()))
    if trim is True and filled and isinstance(filled[0], Text):
        filled = (Text(filled[0].text.lstrip()), *filled[1:])
    return joined(filled)


def _chosen(segments: Iterable[Segment], values: Mapping[str, str]) -> Iterator[Text | Latent]:
    for segment in segments:
        if isinstance(segment, Condition):
            yield from _chosen(segment.branch(values), values)
        else:
            yield Text(values[segment.name]) if isinstance(segment, Field) else segment


def joined(segments: Iterable[Text | Latent]) -> tuple[Text | Latent, ...]:
    """Joins neighbouring texts and drops empty ones."""
    result: list[Text | Latent] = []
    for segment in segments:
        if isinstance(segment, Text) and result and isinstance(result[-1], Text):
            result[-1] = Text(result[-1].text + segment.text)
        elif isinstance(segment, Latent) or segment.text:
            result.append(segment)
    return tuple(result)


def latent_edges(segments: Iterable[Segment]) -> tuple[str, ...]:
    """Returns the edge ids of a template's latent slots, in order."""
    return tuple(segment.edge for segment in segments if isinstance(segment, Latent))
