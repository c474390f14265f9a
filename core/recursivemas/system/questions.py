"""Questions of a task: JSON lines in a data file, one JSON list in a built system."""

import difflib
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Self, TypeAlias

from pydantic import Field

from recursivemas.system.closed import Sparse, added
from recursivemas.system.errors import InputError
from recursivemas.system.graph import ColumnName
from recursivemas.system.prompt import RESERVED_FIELDS, field_names, missing_field, parse_template
from recursivemas.system.strict import MOST_JSON_BYTES, parse_json, read_text
from recursivemas.system.system import System


class QuestionRecord(Sparse):
    """A question with its right answer."""

    question: str = Field(min_length=1)
    """The question, as it goes into the prompt."""
    answer: str
    """The right answer."""
    choices: tuple[str, ...] | None = None
    """The choices of a multiple-choice question, in order."""
    group: str | None = None
    """A label to tell questions apart by, such as a difficulty; shown, never used for the answer."""
    fields: dict[ColumnName, str] = added({})
    """Other columns by name; a prompt shows one in its slot `{name}`."""

    @classmethod
    def of_row(cls, row: object, source: str) -> Self:
        """A record from a row of a data file, whose columns that no key of a record names become fields.

        A field is a text; numbers and true or false become texts as JSON writes them. Columns that hold nothing, a list
        or an object are left out.

        Args:
            row: The columns by name.
            source: Where the row comes from, for the message.

        Raises:
            InputError: The row is no mapping, or a key of a record has a value of another type.
        """
        if not isinstance(row, Mapping):
            return cls.parse(row, source)
        known = {key: value for key, value in row.items() if key in cls.model_fields}
        others = {key: value for key, value in row.items() if key not in cls.model_fields}
        fields = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in others.items()
            if isinstance(value, str | int | float)
        }
        given = known.get("fields")
        if fields and (given is None or isinstance(given, Mapping)):
            known["fields"] = {**fields, **(given or {})}
        return cls.parse(known, source)

    @property
    def values(self) -> dict[str, str]:
        """Every column that a prompt can show, by name: all but the answer. The choices stand on a line each."""
        values = {key: value for key, value in self.fields.items() if key not in RESERVED_FIELDS}
        if self.choices is not None:
            letters = string.ascii_uppercase
            lines = (f"{letters[at]}. {choice}" if at < 26 else choice for at, choice in enumerate(self.choices))
            values["choices"] = "\n".join(lines)
        if self.group is not None:
            values["group"] = self.group
        return {**values, "question": self.question}


Asked: TypeAlias = str | QuestionRecord
"""What a system is asked: a record, or the text of a question that has no other columns."""


def values_of(asked: Asked) -> dict[str, str]:
    """The columns that prompts can show for a question."""
    return {"question": asked} if isinstance(asked, str) else asked.values


def check_fields(system: System, questions: Sequence[Asked]) -> None:
    """Checks that every question has the columns that the prompts need.

    Args:
        system: With its prompts.
        questions: In order; an error counts them from 1.

    Raises:
        InputError: Names the agent, its prompt, the column and the question.
    """
    parsed = [
        (agent.id, key, parse_template(template)) for agent in system.agents for key, template in agent.prompts.items()
    ]
    if not any(set(field_names(segments)) - {"question"} for _, _, segments in parsed):
        return
    for number, asked in enumerate(questions, 1):
        values = values_of(asked)
        for agent_id, key, segments in parsed:
            if (name := missing_field(segments, values)) is not None:
                near = difflib.get_close_matches(name, values, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, values))}"
                raise InputError(
                    f"agent {agent_id!r}: {key} needs the field {name!r}, which question {number} "
                    f"({shorten(values['question'], 40, placeholder='…')!r}) does not have; {hint}"
                )


def load_questions(path: str | Path) -> list[QuestionRecord]:
    """Reads a JSONL file of questions.

    Raises:
        InputError: A line is broken, which the error names, or the file is missing or empty.
    """
    path = Path(path)
    text = read_text(path, "data file; expected JSON lines of question and answer", MOST_JSON_BYTES)
    questions = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        data = parse_json(line, f"{path}:{number}")
        questions.append(QuestionRecord.of_row(data, f"{path}:{number}"))
    if not questions:
        raise InputError(f"{path}: holds no questions")
    return questions
