"""Measured cells of a system: one for each mode, rounds, latent steps and control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recursivemas.system.errors import InputError
from recursivemas.system.names import MODES, Mode
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
        source: The name of the data.
        seed: Of sampling.
        cells: One for each combination: `mode`, `rounds`, `latent_steps`, `control`, `accuracy` with `low` and `high`
            (Wilson's interval at 95%), mean `decoded_tokens`, `forward_positions` and `time_ms` a question, `answers`
            and whether each is `correct`.
        records: The questions with their right answers.
    """

    system: System
    links: Path | None
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

        save_report(Path(out), self.system, self.links, self.source, self.seed, self.cells, self.records)

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
) -> "list[Cell]":
    """Measures every combination that makes sense: rounds where a mode has them, controls in latent mode."""
    from recursivemas.training.evaluation.evaluate import CONTROLS, evaluate

    if unknown := [name for name in controls if name not in CONTROLS]:
        raise InputError(f"control {unknown[0]!r} is unknown; expected one or several of {', '.join(CONTROLS)}")
    with_rounds = {each.name for each in MODES if each.rounds}
    no_control: list[Control] = ["none"]
    grid = [
        (mode, r, m, control)
        for mode in modes
        for r in (rounds if mode in with_rounds else [1])
        for m in latent_steps
        for control in (controls if mode == "latent" else no_control)
    ]
    return [
        evaluate(recursion, records, mode, r, m, control, temperature, seed, batch_size, start(f"{mode} r={r} m={m}"))
        for mode, r, m, control in grid
    ]
