"""What all pictures share: a running mean, and PNG files that appear whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from recursivemas.system.files import atomic_file


def smooth(values: Sequence[float], width: int = 15) -> npt.NDArray[np.float64]:
    """Running mean over at most `width` neighbours."""
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def save_figure(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG, whole or not at all."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
