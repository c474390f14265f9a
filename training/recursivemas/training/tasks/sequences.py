"""Batches of pre-training sequences, put together from parts that some rows leave out.

Shape letters: B batch, T positions, n positions of one part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """Neighbouring positions of every sequence.

    Attributes:
        tokens: (B, n), or (B, n, 2) where a position may be a mixture of two tokens.
        present: (B, n), whether a row has a position at all.
        scored: Whether the model must predict these tokens.
        state: Whether these are states in slot or chain, whose embeddings get noise.
    """

    tokens: Ints
    present: Bools | bool = True
    scored: bool = False
    state: bool = False


@dataclass(frozen=True)
class Batch:
    """Pre-training sequences, right-padded with <eos>.

    Attributes:
        ids: (B, T), or (B, T, 2) where a position may be a mixture of two tokens; equal ones are a single token.
        scored: (B, T) positions whose token the model must predict (chain, answer, <eos>); the two tokens of a mixture
            have half of the probability each.
        states: (B, T) positions of state tokens in slot and chain, whose embeddings get noise.
        weights: (B, T) share of a mixture's first token; None without mixtures.
    """

    ids: Ints
    scored: Bools
    states: Bools
    weights: npt.NDArray[np.float64] | None = None


def join_parts(parts: Sequence[Part], pad: int) -> Batch:
    """Puts parts one after the other, drops absent positions and fills every row with `pad` on the right."""

    def flags(values: Sequence[Bools | bool]) -> Bools:
        columns = zip(parts, values, strict=True)
        return np.concatenate([np.broadcast_to(value, part.tokens.shape[:2]) for part, value in columns], axis=1)

    tokens = np.concatenate([part.tokens for part in parts], axis=1)  # (B, T) or (B, T, 2)
    present = flags([part.present for part in parts])  # (B, T)
    order = np.argsort(~present, axis=1, kind="stable")  # (B, T): present positions first, in their order
    rows = np.arange(len(tokens))[:, None]
    tokens[~present] = pad
    width = int(present.sum(1).max())
    return Batch(
        ids=tokens[rows, order][:, :width],
        scored=(flags([part.scored for part in parts]) & present)[rows, order][:, :width],
        states=(flags([part.state for part in parts]) & present)[rows, order][:, :width],
    )
