"""Early stopping: a run ends when what it hands back has stopped changing.

Source: docs/recursion.md, rule 10.
"""

from typing import Annotated

from pydantic import Field

from recursivemas.system.closed import Closed, written_to


class EarlyStopping(Closed):
    """When a run may end before its last round. A run stops early only if it asks for it."""

    threshold: float = Field(gt=0, le=1)
    """The least cosine between the hand-offs on feedback edges of a round and those of the round before; from there on,
    the round is the last one (docs/recursion.md, rule 10)."""


class EarlyStop(Closed):
    """Where a run ended before its last round, and why."""

    round: int = Field(ge=1)
    """The round that was the last one, counted from 0."""
    similarity: float = Field(ge=-1, le=1)
    """Its similarity to the round before, which reached the threshold."""


class Calibrated(Closed):
    """Evidence for the threshold of early stopping, from questions that its choice did not see."""

    threshold: float = Field(gt=0, le=1)
    """The threshold that was chosen."""
    accuracy: Annotated[float, written_to(4)] = Field(ge=0, le=1)
    """Accuracy with early stopping."""
    full_accuracy: Annotated[float, written_to(4)] = Field(ge=0, le=1)
    """Accuracy with all rounds, on the same questions."""
    lost: int = Field(ge=0)
    """Questions that are answered correctly with all rounds alone."""
    gained: int = Field(ge=0)
    """Questions that are answered correctly with early stopping alone."""
    questions: int = Field(ge=1)
    """How many questions the choice did not see."""
    rounds: Annotated[float, written_to(3)] = Field(ge=1)
    """Mean rounds with early stopping."""
    forward_positions: Annotated[float, written_to(2)] = Field(ge=0)
    """Mean positions for a question with early stopping."""
    full_forward_positions: Annotated[float, written_to(2)] = Field(ge=0)
    """Mean positions for a question with all rounds."""
    saved: Annotated[float, written_to(4)]
    """Share of the positions that early stopping saves."""
    saved_low: Annotated[float, written_to(4)]
    """Lower end of its 95% interval."""
    saved_high: Annotated[float, written_to(4)]
    """Upper end of its 95% interval."""
