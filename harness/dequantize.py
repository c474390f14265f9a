"""The numpy twin of the dequantization that compiled models compute."""

import numpy as np
from numpy.typing import NDArray

from recursivemas.compiler.quantize import GROUP_SIZE, MAX_INT, PER_WORD


def dequantize(q_weight: NDArray[np.uint32], q_scale: NDArray[np.floating], columns: int) -> NDArray[np.floating]:
    """The weight that a compiled model computes with: (level - 7) * scale, in the model dtype.

    Args:
        q_weight: (R, 4 * G) uint32.
        q_scale: (R, G) in the model dtype.
        columns: Input features, at most 32 * G.

    Returns:
        (R, columns) in the dtype of `q_scale`.
    """
    shifts = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(4)
    levels = (q_weight[..., None] >> shifts) & np.uint32(15)
    steps = levels.reshape(len(q_weight), -1)[:, :columns].astype(q_scale.dtype) - q_scale.dtype.type(MAX_INT)
    weights: NDArray[np.floating] = steps * np.repeat(q_scale, GROUP_SIZE, axis=1)[:, :columns]
    return weights
