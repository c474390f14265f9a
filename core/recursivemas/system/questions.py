"""Questions of a task: JSON lines in a data file, one JSON list in a built system."""

import json
from pathlib import Path

from pydantic import Field

from recursivemas.system.closed import Sparse
from recursivemas.system.errors import InputError


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


def load_questions(path: str | Path) -> list[QuestionRecord]:
    """Reads a JSONL file of questions.

    Raises:
        InputError: A line is broken, which the error names, or the file is missing or empty.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such data file; expected JSON lines of question and answer") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    questions = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not valid JSON: {error}") from None
        questions.append(QuestionRecord.parse(data, f"{path}:{number}"))
    if not questions:
        raise InputError(f"{path}: holds no questions")
    return questions
