"""Measured cells of a system: one for each mode, rounds, latent steps and control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recursivemas.system.errors import InputError
from recursivemas.system.names import MODES, Mode, Weights
from recursivemas.system.progress import Progress
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System

if TYPE_CHECKING:
    from recursivemas.training.evaluation.evaluate import Cell
    from recursivemas.training.recursion import Recursion

Rows: TypeAlias = Sequence[Mapping[str, object]]
Control = Literal["none", "zeros", "other_question"]


@dataclass(frozen=True)
class Questions:
    """A data set that has been read.

    Attributes:
        source: Its name.
        records: The questions with their right answers.
    """

    source: str
    records: Sequence[QuestionRecord]


def read_questions(data: str | Path | Rows) -> Questions:
    """Reads a data set.

    Args:
        data: JSONL, JSON or CSV file, Hub data set `owner/name:split`, or rows.

    Raises:
        InputError: There are no questions, or one is broken.
    """
    from recursivemas.training.tasks.data import load_records

    if isinstance(data, str | Path):
        return Questions(str(data), load_records(str(data)))
    records = [QuestionRecord.of_row(row, f"row {number}") for number, row in enumerate(data, 1)]
    if not records:
        raise InputError("data: expected at least one row with the columns 'question' and 'answer', got none")
    return Questions("rows", records)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `LoadedSystem.evaluate` measured. In a notebook it shows a table.

    Attributes:
        system: The system's declaration.
        links: The link file; None without links.
        weights: Which weights the agents had.
        source: The name of the data.
        seed: Of sampling.
        cells: One for each combination: `mode`, `rounds`, `latent_steps`, `control`, `accuracy` with `low` and `high`
            (Wilson's interval at 95%), mean `decoded_tokens`, `forward_positions` and `time_ms` a question, `answers`
            and whether each is `correct`. With early stopping, also its `threshold`, `mean_rounds` and
            `saved_positions`.
        records: The questions with their right answers.
    """

    system: System
    links: Path | None
    weights: Weights
    source: str
    seed: int
    cells: "tuple[Cell, ...]"
    records: tuple[QuestionRecord, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The cells as JSON values, without the single answers."""
        return [cell.row() for cell in self.cells]

    def save(self, out: str | Path) -> None:
        """Writes `eval.json`, with every question and answer, and `eval.png` into a folder."""
        from recursivemas.training.evaluation.report import save_report

        save_report(Path(out), self.system, self.links, self.weights, self.source, self.seed, self.cells, self.records)

    def _repr_html_(self) -> str:
        from recursivemas.api.notebook import evaluation_html

        return evaluation_html(self)


def evaluate_grid(
    recursion: "Recursion",
    records: Sequence[QuestionRecord],
    modes: Sequence[Mode],
    rounds: Sequence[int],
    latent_steps: Sequence[int],
    controls: Sequence[Control],
    temperature: float | None,
    seed: int,
    batch_size: int,
    start: Callable[[str], Progress],
    thresholds: Sequence[float | None] = (None,),
) -> "list[Cell]":
    """Measures every combination that makes sense: rounds where a mode has them, controls and early stopping in latent
    mode.
    """
    from recursivemas.training.evaluation.evaluate import CONTROLS, evaluate

    if unknown := [name for name in controls if name not in CONTROLS]:
        raise InputError(f"control {unknown[0]!r} is unknown; expected one or several of {', '.join(CONTROLS)}")
    with_rounds = {each.name for each in MODES if each.rounds}
    no_control: list[Control] = ["none"]
    everywhere: list[float | None] = [None]
    grid = [
        (mode, r, m, control, threshold)
        for mode in modes
        for r in (rounds if mode in with_rounds else [1])
        for m in latent_steps
        for control in (controls if mode == "latent" else no_control)
        for threshold in (thresholds if mode == "latent" else everywhere)
    ]
    return [
        evaluate(
            *(recursion, records, mode, r, m, control, temperature, seed, batch_size),
            progress=start(f"{mode} r={r} m={m}" + ("" if threshold is None else f" stop={threshold:g}")),
            threshold=threshold,
        )
        for mode, r, m, control, threshold in grid
    ]


def threshold_of(system: System, early_stopping: bool | float) -> float | None:
    """The threshold that a run asks for; None for a run that takes all of its rounds.

    Args:
        system: Gives the threshold for `True`.
        early_stopping: Whether a run may stop early, or a threshold of its own.

    Raises:
        InputError: The system has no threshold, or a number is none.
    """
    if early_stopping is False:
        return None
    if early_stopping is True:
        if system.early_stopping is None:
            raise InputError(
                f"system {system.name!r} has no threshold for early stopping; choose one with 'rmas tune --write', or "
                "give a number above 0 and at most 1"
            )
        return system.early_stopping.threshold
    if not isinstance(early_stopping, int | float) or not 0 < early_stopping <= 1:
        raise InputError(
            f"early_stopping: expected True, False or a number above 0 and at most 1, got {early_stopping!r}"
        )
    return float(early_stopping)
