"""Notices a learning rate that wipes out what links started from."""

from collections.abc import Callable
from dataclasses import dataclass, field

FIRST_STEPS = 10
MUCH_WORSE = 1.5
WORSE_BY = 0.5
"""A loss is far above the first one if it is both times as large and by so much (nats) larger."""


@dataclass
class StartWatch:
    """Compares the loss of the first steps with that of the very first one.

    Attributes:
        warmup_steps: Steps until the learning rate is at its peak; the steps after it are compared, too.
        say: Called once if the start is lost.
    """

    warmup_steps: int
    say: Callable[[str], None]
    _losses: list[float] = field(default_factory=list)
    _said: bool = False

    def __call__(self, step: int, loss: float) -> None:
        """Takes the loss of a step, counted from 1; a run that continues is only watched if it began here."""
        if self._said or len(self._losses) != step - 1:
            return
        self._losses.append(loss)
        if step not in (FIRST_STEPS, self.warmup_steps + FIRST_STEPS):
            return
        first, recent = self._losses[0], self._losses[step - FIRST_STEPS + (step == FIRST_STEPS) : step]
        mean = sum(recent) / len(recent)
        if mean > max(MUCH_WORSE * first, first + WORSE_BY):
            self._said = True
            self.say(
                f"the loss rose from {first:.2f} at the first step to {mean:.2f} on average over steps "
                f"{step - len(recent) + 1} to {step}: the learning rate wipes out what the links started from; lower "
                "training.outer.learning_rate"
            )
