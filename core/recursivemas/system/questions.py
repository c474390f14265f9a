"""Questions of a task: JSON lines of `{"question", "answer", "choices"?}`."""

import json
from pathlib import Path

from pydantic import Field

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError


class QuestionRecord(Closed):
    """One question with its right answer.

    Attributes:
        question: As it goes into the prompt.
        answer: The right answer.
        choices: What a multiple-choice question offers, in order.
        group: A label to tell questions apart by, such as a difficulty; shown, never used for the answer.
    """

    question: str = Field(min_length=1)
    answer: str
    choices: tuple[str, ...] | None = None
    group: str | None = None


def load_questions(path: str | Path) -> list[QuestionRecord]:
    """Reads a JSONL file of questions.

    Raises:
        InputError: Naming the line that is broken, or when the file is missing or empty.
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
