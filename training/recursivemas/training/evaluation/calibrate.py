"""Calibrates early stopping: the threshold that saves positions without costing accuracy.

The choice sees every other question. Two answers to the same question are compared, that of all rounds and that of the
round in which the question would have stopped, so the test is paired. The evidence comes from the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recursivemas.system.early_stopping import Calibrated
from recursivemas.training.evaluation.evaluate import Cell
from recursivemas.training.evaluation.statistics import Z_95, share_high

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""What is tried."""
NEARLY_ALL = 0.98
"""A higher threshold is safer, so the highest one is taken that saves at least this share of the most that is saved."""


@dataclass(frozen=True)
class Trial:
    """One threshold on the questions that the choice sees.

    Attributes:
        threshold: What was tried.
        lost: Questions that all rounds answer correctly and early stopping does not.
        lost_high: Upper bound of their share, one-sided at 95%.
        rounds: Mean rounds.
    """

    threshold: float
    lost: int
    lost_high: float
    rounds: float


@dataclass(frozen=True)
class Calibration:
    """What was tried, and what was chosen.

    Attributes:
        trials: In ascending order of threshold.
        chosen: None if no threshold saves anything at equal accuracy.
        reason: Why none was chosen, for people; empty if one was.
    """

    trials: tuple[Trial, ...]
    chosen: Trial | None
    reason: str = ""


def calibrate(watched: Cell, by_rounds: dict[int, Cell], tolerance: float) -> Calibration:
    """Chooses a threshold from every other question.

    Args:
        watched: All rounds, with the similarities of rounds (`evaluate` with an infinite threshold).
        by_rounds: Runs of 2 to R - 1 rounds with as many latent steps, on the same questions.
        tolerance: The share of questions that may lose their right answer, with 95% confidence.
    """
    taken = {
        threshold: [
            next((at + 2 for at, value in enumerate(each.similarities) if value >= threshold), watched.rounds)
            for each in watched.outcomes[::2]
        ]
        for threshold in THRESHOLDS
    }
    right = {rounds: cell.correct[::2] for rounds, cell in by_rounds.items()} | {watched.rounds: watched.correct[::2]}
    trials = []
    for threshold, rounds in taken.items():
        lost = sum(right[watched.rounds][at] and not right[r][at] for at, r in enumerate(rounds))
        trials.append(Trial(threshold, lost, share_high(lost, len(rounds)), sum(rounds) / len(rounds)))
    allowed = [trial for trial in trials if trial.lost_high <= tolerance]
    if not allowed:
        least = math.ceil(math.log(0.05) / math.log(1 - tolerance)) if 0 < tolerance < 1 else 0
        few = f"; that takes at least {2 * least} questions" if len(watched.correct) < 2 * least else ""
        reason = f"no threshold keeps the share of lost answers below {tolerance:g} with 95% confidence{few}"
        return Calibration(tuple(trials), None, reason)
    most = max(watched.rounds - trial.rounds for trial in allowed)
    if most <= 0:
        return Calibration(tuple(trials), None, "no round was like the one before, so nothing is saved")
    safest = max(
        (trial for trial in allowed if watched.rounds - trial.rounds >= NEARLY_ALL * most),
        key=lambda trial: trial.threshold,
    )
    return Calibration(tuple(trials), safest)


def evidence(threshold: float, full: Cell, early: Cell) -> Calibrated:
    """What a threshold does to the questions that its choice did not see.

    Args:
        threshold: The choice.
        full: All rounds, with every question's positions (`evaluate` with an infinite threshold).
        early: The same questions with early stopping.
    """
    pairs = list(zip(full.correct[1::2], early.correct[1::2], strict=True))
    whole = [each.forward_positions for each in full.outcomes[1::2]]
    spent = [each.forward_positions for each in early.outcomes[1::2]]
    saved, low, high = saved_share(whole, spent)
    count = len(pairs)
    return Calibrated(
        threshold=threshold,
        accuracy=sum(own for _, own in pairs) / count,
        full_accuracy=sum(all_rounds for all_rounds, _ in pairs) / count,
        lost=sum(all_rounds and not own for all_rounds, own in pairs),
        gained=sum(own and not all_rounds for all_rounds, own in pairs),
        questions=count,
        rounds=sum(each.rounds for each in early.outcomes[1::2]) / count,
        forward_positions=sum(spent) / count,
        full_forward_positions=sum(whole) / count,
        saved=saved,
        saved_low=low,
        saved_high=high,
    )


def saved_share(whole: Sequence[int], spent: Sequence[int]) -> tuple[float, float, float]:
    """The share of positions that is saved, and its 95% interval, from paired numbers of each question."""
    saved = [a - b for a, b in zip(whole, spent, strict=True)]
    count, mean_whole = len(saved), sum(whole) / len(whole)
    mean = sum(saved) / count
    # The interval of a ratio of means: that of saved - ratio * whole, whose mean is zero.
    rest = [s - mean / mean_whole * w for s, w in zip(saved, whole, strict=True)]
    variance = sum(each * each for each in rest) / max(1, count - 1)
    half = Z_95 * math.sqrt(variance / count)
    return mean / mean_whole, (mean - half) / mean_whole, (mean + half) / mean_whole
