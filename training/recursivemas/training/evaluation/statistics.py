"""Confidence intervals of accuracies."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054


def wilson(right: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a proportion. Source: E. B. Wilson, JASA 22 (1927).

    Returns:
        (low, high); (0, 1) when nothing was asked.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = right / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def over_seeds(right: Sequence[Sequence[bool]], resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean accuracy over training seeds, with a two-level bootstrap: seeds, then questions within a seed.

    Args:
        right: For each seed, whether each question was answered rightly.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        (mean, low, high) at 95%.
    """
    rng = np.random.default_rng(seed)
    shares = np.array([np.mean(row) for row in right])
    counts = np.array([len(row) for row in right])
    picked = rng.integers(0, len(right), (resamples, len(right)))
    means = (rng.binomial(counts[picked], shares[picked]) / counts[picked]).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(shares.mean()), float(low), float(high)
