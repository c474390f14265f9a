"""Chooses the numbers of rounds and latent steps: enough accuracy for the fewest positions, under a budget.

The choice sees every other question; its accuracy is reported on the rest, so that choosing the best of many measured
values does not flatter it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from recursivemas.system.errors import InputError
from recursivemas.training.evaluation.evaluate import Cell
from recursivemas.training.evaluation.statistics import wilson
from recursivemas.training.figures import save_figure


@dataclass(frozen=True)
class Tuning:
    """What a sweep led to.

    Attributes:
        cells: Everything measured, all in one mode.
        budget: Most mean positions a question; None for no limit.
        tolerance: How much accuracy may be given up for fewer positions.
        chosen: The cell that was chosen.
        frontier: Cells that no other one beats in both accuracy and positions, cheapest first.
    """

    cells: tuple[Cell, ...]
    budget: float | None
    tolerance: float
    chosen: Cell
    frontier: tuple[Cell, ...]

    @property
    def held_out(self) -> tuple[float, float, float, int]:
        """Accuracy of the choice on the questions that it did not see, the ends of its 95% interval, their number."""
        seen = self.chosen.correct[1::2]
        low, high = wilson(sum(seen), len(seen))
        return sum(seen) / len(seen), low, high, len(seen)


def choose(cells: Sequence[Cell], budget: float | None, tolerance: float) -> Tuning:
    """Chooses the cheapest cell within the budget whose accuracy is at most `tolerance` below the best one's.

    Args:
        cells: Measured on the same questions, at least 2.
        budget: Most mean positions a question.
        tolerance: In accuracy, such as 0.01.

    Raises:
        InputError: No cell is within the budget, or there are too few questions.
    """
    if min((cell.questions for cell in cells), default=2) < 2:
        raise InputError("tuning needs at least 2 questions: one half chooses, the other half tells how good that is")
    within = [cell for cell in cells if budget is None or cell.forward_positions <= budget]
    if not within:
        least = min((cell.forward_positions for cell in cells), default=None)
        told = "" if least is None else f"; the cheapest combination computes {least:.0f}"
        raise InputError(f"--budget {budget:g}: no combination computes so few positions a question{told}")
    best = max(map(_seen, within))
    enough = [cell for cell in within if _seen(cell) >= best - tolerance - 1e-12]
    chosen = min(enough, key=lambda cell: (cell.forward_positions, -_seen(cell)))
    return Tuning(tuple(cells), budget, tolerance, chosen, _frontier(cells))


def _seen(cell: Cell) -> float:
    """Accuracy on the questions that the choice sees."""
    return sum(cell.correct[::2]) / len(cell.correct[::2])


def _frontier(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    best, kept = -1.0, []
    for cell in sorted(cells, key=lambda cell: (cell.forward_positions, -cell.accuracy)):
        if cell.accuracy > best:
            best = cell.accuracy
            kept.append(cell)
    return tuple(kept)


def draw_tuning(tuning: Tuning, title: str, path: Path) -> None:
    """Draws accuracy over positions with 95% intervals, the frontier, the budget and the choice."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    cells = tuning.cells
    error = [[c.accuracy - c.low for c in cells], [c.high - c.accuracy for c in cells]]
    places = [c.forward_positions for c in cells]
    axis.errorbar(places, [c.accuracy for c in cells], yerr=error, fmt="o", color="0.6", capsize=2, label="measured")
    line = tuning.frontier
    axis.plot(
        [c.forward_positions for c in line], [c.accuracy for c in line], "o-", drawstyle="steps-post", label="frontier"
    )
    for cell in line:
        label = f"r={cell.rounds} M={cell.latent_steps}"
        axis.annotate(label, (cell.forward_positions, cell.accuracy), (4, -12), textcoords="offset points", fontsize=7)
    chosen = tuning.chosen
    axis.plot(chosen.forward_positions, chosen.accuracy, "*", markersize=16, color="tab:red", label="chosen")
    if tuning.budget is not None:
        axis.axvline(tuning.budget, linestyle="--", color="0.4", label="budget")
    axis.set(title=title, xlabel="positions a question", ylabel="accuracy (95% interval)", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save_figure(figure, path)
