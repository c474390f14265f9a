"""Confidence intervals of accuracies."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054
RESAMPLES = 2000


def wilson(right: float, total: int) -> tuple[float, float]:
    """Wilson score interval of a proportion at 95%. Source: E. B. Wilson, JASA 22 (1927).

    Returns:
        (low, high), which hold the proportion also after rounding; (0, 1) if total is 0.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = right / total, Z_95 * Z_95 / total
    centre = (share + square / 2) / (1 + square)
    half = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def share_high(count: int, total: int) -> float:
    """Upper bound of a share, one-sided at 95%. Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934).

    It is the share at which no more than `count` of `total` would come out in one of twenty times.
    """
    if count >= total:
        return 1.0
    low, high = count / total, 1.0
    for _ in range(60):
        share = (low + high) / 2
        low, high = (share, high) if _at_most(count, total, share) > 0.05 else (low, share)
    return high


def _at_most(count: int, total: int, share: float) -> float:
    """The probability of at most so many out of `total`, each with probability `share` in (0, 1)."""
    ways = math.lgamma(total + 1)
    return sum(
        math.exp(
            ways
            - math.lgamma(k + 1)
            - math.lgamma(total - k + 1)
            + k * math.log(share)
            + (total - k) * math.log1p(-share)
        )
        for k in range(count + 1)
    )


def over_seeds(right: Sequence[Sequence[bool]]) -> tuple[float, float, float]:
    """Mean accuracy over training seeds, with a two-level bootstrap: seeds, then questions within a seed.

    Args:
        right: For each seed, whether each question was answered correctly.

    Returns:
        (mean, low, high) at 95%.
    """
    rng = np.random.default_rng(0)
    shares = np.array([np.mean(row) for row in right])
    counts = np.array([len(row) for row in right])
    picked = rng.integers(0, len(right), (RESAMPLES, len(right)))
    means = (rng.binomial(counts[picked], shares[picked]) / counts[picked]).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(shares.mean()), float(low), float(high)
