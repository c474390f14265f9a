"""Measured cells of a system: one for each mode, rounds, latent steps and control."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recursivemas.system.errors import InputError
from recursivemas.system.names import MODES, Mode
from recursivemas.system.progress import Progress
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.system import System

if TYPE_CHECKING:
    from recursivemas.training.evaluation.evaluate import Cell
    from recursivemas.training.recursion import Recursion

Control = Literal["none", "zeros", "other_question"]


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
