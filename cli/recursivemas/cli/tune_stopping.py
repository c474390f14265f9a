"""The part of `rmas tune` that calibrates early stopping for the rounds and latent steps that were chosen."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from recursivemas.api.evaluation import Questions, evaluate_grid
from recursivemas.api.loaded import LoadedSystem
from recursivemas.system.early_stopping import Calibrated
from recursivemas.system.progress import Progress
from recursivemas.training.evaluation.calibrate import Calibration, calibrate, evidence
from recursivemas.training.evaluation.evaluate import Cell
from recursivemas.training.evaluation.tune import Tuning

LEAST_ROUNDS = 3
"""A run can stop in round 2 at the earliest, and saves something only if another round would follow."""


@dataclass(frozen=True)
class Stopping:
    """What calibrating led to.

    Attributes:
        calibration: What was tried; None if the chosen rounds are too few to stop before the last one.
        evidence: What the choice does to other questions; None if nothing was chosen.
    """

    calibration: Calibration | None
    evidence: Calibrated | None

    def lines(self) -> Iterator[str]:
        """What people read."""
        if self.calibration is None:
            yield f"early stopping: needs at least {LEAST_ROUNDS} rounds, so there is no threshold"
        elif self.evidence is None:
            yield f"early stopping: {self.calibration.reason}"
        else:
            found = self.evidence
            yield (
                f"early stopping: threshold {found.threshold:g}; accuracy {found.accuracy:.3f} instead of "
                f"{found.full_accuracy:.3f} on {found.questions} other questions ({found.lost} lost, {found.gained} "
                f"gained); {found.rounds:.2f} rounds, {found.forward_positions:.0f} positions instead of "
                f"{found.full_forward_positions:.0f}, saved {found.saved:.1%} ({found.saved_low:.1%}.."
                f"{found.saved_high:.1%})"
            )

    def record(self) -> dict[str, Any]:
        """All trials as JSON values."""
        tried = [] if self.calibration is None else [asdict(trial) for trial in self.calibration.trials]
        reason = "too few rounds" if self.calibration is None else self.calibration.reason
        return {"trials": tried, **({"reason": reason} if reason else {})}


def calibrate_choice(
    loaded: LoadedSystem,
    questions: Questions,
    tuning: Tuning,
    tolerance: float,
    limit: int | None,
    batch_size: int,
    start: Callable[[str], Progress],
) -> Stopping:
    """Calibrates early stopping for the chosen cell; one half of the questions chooses, the other is the evidence.

    Args:
        loaded: The system.
        questions: Those that the cells were measured on.
        tuning: With the choice, and with cells of fewer rounds, which are not measured again.
        tolerance: The share of questions that may lose their right answer.
        limit: Only so many questions, from the first.
        batch_size: Questions at a time.
        start: Called with the name of each measurement.
    """
    chosen = tuning.chosen
    rounds, steps = chosen.rounds, chosen.latent_steps
    if rounds < LEAST_ROUNDS:
        return Stopping(None, None)
    records = questions.records[:limit]

    def measure(r: int, threshold: float | None) -> Cell:
        (cell,) = evaluate_grid(
            loaded._recursion, records, ["latent"], [r], [steps], ["none"], None, 0, batch_size, start, [threshold]
        )
        return cell

    known = {cell.rounds: cell for cell in tuning.cells if cell.latent_steps == steps}
    by_rounds = {r: known.get(r) or measure(r, None) for r in range(2, rounds)}
    watched = measure(rounds, math.inf)
    calibration = calibrate(watched, by_rounds, tolerance)
    if calibration.chosen is None:
        return Stopping(calibration, None)
    threshold = calibration.chosen.threshold
    return Stopping(calibration, evidence(threshold, watched, measure(rounds, threshold)))
