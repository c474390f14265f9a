"""Columns of a question beside the question and its answer, as training uses them."""

from recursivemas.system.questions import QuestionRecord


def column(record: QuestionRecord, name: str) -> str | None:
    """A column of a question record, as text; None if the record lacks it."""
    return record.values.get(name)


def characters(record: QuestionRecord) -> int:
    """The length of what prompts may show of a question; questions of like length are trained together."""
    return sum(len(value) for value in record.values.values())
