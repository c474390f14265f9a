"""Questions for training and evaluation: JSONL files, synthetic tasks by name, hub data sets."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from recursivemas.system.errors import InputError
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.training.tasks import drift, fare, hop, townsfolk

Generator: TypeAlias = Callable[[int, int], list[QuestionRecord]]

GENERATORS: dict[str, Generator] = {
    "hop": hop.questions,
    "hop-pair": functools.partial(hop.questions, kinds=(0, 2)),
    "drift": drift.questions,
    "fare": fare.questions,
    "townsfolk": townsfolk.questions,
}
HELD_OUT_GENERATORS: dict[str, Generator] = {
    **GENERATORS,
    "townsfolk": functools.partial(townsfolk.questions, held_out=True),
}
"""Of the held-out files; where questions are about people, these are people whom no training question asks about."""

# Held-out files are drawn from seeds below this one; training draws from seeds above it.
FIRST_TRAINING_SEED = 1_000_000


def load_records(source: str) -> list[QuestionRecord]:
    """Questions of a JSONL, JSON or CSV file, or of a hub data set (`owner/name[/config][:split]`).

    Raises:
        InputError: When neither can be read.
    """
    path = Path(source)
    local = path.exists() or path.suffix == ".jsonl" or path.is_absolute()
    if local and path.suffix not in (".json", ".csv", ".parquet"):
        return load_questions(path)
    from recursivemas.training.tasks.hub_data import file_rows, hub_records, records_of_rows

    return records_of_rows(file_rows(path), source) if local else hub_records(source)


class TrainingData:
    """Endless training questions, which depend on seed and step alone.

    Args:
        source: `generator:<task>` or a JSONL file.
        seed: Of the order, and of the questions of a synthetic task.

    Raises:
        InputError: For an unknown task or an unreadable file.
    """

    def __init__(self, source: str, seed: int) -> None:
        self.source, self.seed = source, seed
        kind, _, name = source.partition(":")
        if kind == "generator" and name not in GENERATORS:
            raise InputError(f"training data {source!r}: unknown task; known are {', '.join(sorted(GENERATORS))}")
        self._generate = GENERATORS[name] if kind == "generator" else None
        self._records = [] if self._generate else load_records(source)

    @property
    def known(self) -> list[QuestionRecord]:
        """Every question; of a synthetic task, which has no end, a few."""
        return self._records if self._generate is None else self.batch(0, 0, 8)

    def batch(self, stream: int, step: int, size: int) -> list[QuestionRecord]:
        """`size` questions of a step; each use of questions in a run has a `stream` of its own."""
        key = [FIRST_TRAINING_SEED + self.seed, stream, step]
        if self._generate is not None:
            return self._generate(int(np.random.SeedSequence(key).generate_state(1)[0]) + FIRST_TRAINING_SEED, size)
        chosen = np.random.default_rng(key).choice(len(self._records), size, replace=size > len(self._records))
        return [self._records[index] for index in chosen]
