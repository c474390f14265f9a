"""MLC's weight quantization in numpy, bit for bit, over row blocks so that memory stays bounded.

Source: MLC-LLM's `GroupQuantize` (group size 32 along the input axis, NK layout), as TVM computes it on a CPU: a level
is clip(round(w / scale + 7), 0, 14) with halves rounded to even, each operation rounded to the model dtype.

float16 arithmetic is done in float32 and rounded to float16's 11 bits after each operation. That is exact for division
and addition (double rounding is harmless at 24 >= 2 * 11 + 2 bits) and several times faster than numpy's own float16.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from recursivemas.system.errors import InputError
from recursivemas.system.names import QUANTIZATIONS

GROUP_SIZE = 32
"""How many consecutive weights of a row share one scale."""

PER_WORD = 8
"""How many 4-bit values one uint32 holds, the first in the lowest bits."""

MAX_INT = 7
"""The level of zero; weights of the group's largest magnitude become level 0 or 2 * MAX_INT."""

BLOCK_GROUPS = 4096
"""How many groups are quantized at once: 131,072 weights, whose scratch buffers (1.7 MB) fit a core's L2 cache."""

_FLOAT16_OVERFLOW = 65520.0
"""The smallest magnitude that rounds to infinity in float16."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Scheme:
    """One of MLC's schemes.

    Attributes:
        name: MLC's name, which also ends the names of agent folders and libraries.
        dtype: The model dtype: activations, norms, biases and scales.
        group: Whether linear and embedding weights are quantized to 4 bits in groups of 32.
    """

    name: str
    dtype: str
    group: bool

    @property
    def numpy_dtype(self) -> np.dtype[np.floating]:
        """The model dtype in numpy."""
        return np.dtype(self.dtype)

    @property
    def needs_shader_f16(self) -> bool:
        """Whether it needs WebGPU's `shader-f16`."""
        return self.dtype == "float16"


SCHEMES: dict[str, Scheme] = {each.name: Scheme(each.name, each.dtype, each.grouped) for each in QUANTIZATIONS}


def find_scheme(name: str) -> Scheme:
    """Looks up a scheme by name.

    Raises:
        InputError: There is no such scheme.
    """
    if name not in SCHEMES:
        raise InputError(f"unknown quantization {name!r}; choose one of {', '.join(SCHEMES)}")
    return SCHEMES[name]


class BadWeightsError(ValueError):
    """Some weights are not finite, or too large for the model dtype; the message says which."""


def check_finite(max_abs: NDArray[np.floating], dtype: str) -> None:
    """Refuses weights that are NaN, infinite, or infinite once rounded to `dtype`.

    Args:
        max_abs: Magnitudes of any shape; NaN where a weight is NaN.
        dtype: The model dtype, `float16` or `float32`.

    Raises:
        BadWeightsError: Some weight cannot be stored.
    """
    largest = np.max(max_abs, initial=0)
    if np.isnan(largest):
        raise BadWeightsError("holds NaN")
    if np.isinf(largest):
        raise BadWeightsError("holds infinity")
    if dtype == "float16" and largest >= _FLOAT16_OVERFLOW:
        raise BadWeightsError(
            f"holds {float(largest):g}, beyond float16's 65504 (a float32 scheme, q4f32_1 or q0f32, can store it)"
        )


FLOAT32_PARAMETERS = frozenset({"A_log", "dt_bias"})
"""Last parts of the names of parameters that every scheme stores in float32: they say how fast a recurrent state
decays, and their errors add up over a context."""


def cast(rows: NDArray[np.generic], dtype: str) -> NDArray[np.generic]:
    """Rounds weights that stay unquantized to the model dtype, to nearest even.

    Args:
        rows: Any shape; float32, float16 or bfloat16.
        dtype: The model dtype.

    Returns:
        The same shape in `dtype`; `rows` itself if it has that dtype.

    Raises:
        BadWeightsError: Some weight is not finite or does not fit.
    """
    wide = rows.astype(np.float32, copy=False)
    check_finite(np.abs(wide), dtype)
    return rows if rows.dtype == np.dtype(dtype) else wide.astype(dtype, copy=False)


def quantized_shapes(shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of `q_weight` (uint32) and `q_scale` (model dtype) of an (out, in) weight."""
    rows, columns = shape
    groups = -(-columns // GROUP_SIZE)
    return (rows, groups * GROUP_SIZE // PER_WORD), (rows, groups)


class GroupQuantizer:
    """Quantizes (out, in) weights to 4 bits. It has scratch buffers, so use it from one thread only.

    A block of groups is laid out as (32, groups), one group a column, so that each step is a long contiguous pass and
    a group's scale is broadcast along the fast axis.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self._half = self.dtype == np.float16
        shape = (GROUP_SIZE, BLOCK_GROUPS)
        self._weights = np.empty(shape, np.float32)
        self._scaled = np.empty(shape, np.float32)
        self._scratch = np.empty(shape, np.float32)
        self._levels = np.empty(shape, np.uint8)

    def quantize(self, rows: NDArray[np.generic]) -> tuple[NDArray[np.uint32], NDArray[np.floating]]:
        """Quantizes some rows of a weight; rows are independent of each other.

        Args:
            rows: (R, in), float32, float16 or bfloat16, C-contiguous.

        Returns:
            `q_weight` (R, 4 * ceil(in / 32)) uint32 and `q_scale` (R, ceil(in / 32)) in the model dtype. The last
            group of a row whose length is not a multiple of 32 is padded with zero bits.

        Raises:
            BadWeightsError: Some weight is not finite or does not fit the model dtype.
        """
        weight_shape, scale_shape = quantized_shapes(rows.shape)
        columns = rows.shape[1]
        groups_per_row = scale_shape[1]
        padding = groups_per_row * GROUP_SIZE - columns
        if padding:
            rows = np.pad(rows.view(_bits(rows.dtype)), ((0, 0), (0, padding))).view(rows.dtype)
        flat = rows.reshape(-1, GROUP_SIZE)
        q_weight = np.empty((flat.shape[0], GROUP_SIZE // 2), np.uint8)
        q_scale = np.empty(flat.shape[0], self.dtype)
        for start in range(0, flat.shape[0], BLOCK_GROUPS):
            part = slice(start, start + BLOCK_GROUPS)
            q_scale[part] = self._block_levels(flat[part])
            count = len(flat[part])
            if padding:
                short = (groups_per_row - 1 - start) % groups_per_row
                self._levels[GROUP_SIZE - padding :, short:count:groups_per_row] = 0
            q_weight[part] = self._pack(count)
        return q_weight.view("<u4").reshape(weight_shape), q_scale.reshape(scale_shape)

    def _block_levels(self, groups: NDArray[np.generic]) -> NDArray[np.floating]:
        """Fills `_levels` with the 4-bit levels of a block and returns its scales.

        Args:
            groups: (G, 32) weights.

        Returns:
            (G,) scales in the model dtype.
        """
        count = len(groups)
        weights, x, scratch = (buffer[:, :count] for buffer in (self._weights, self._scaled, self._scratch))
        _load(groups, weights)
        np.abs(weights, out=x)
        max_abs = x.max(axis=0)
        check_finite(max_abs, self.dtype.name)
        if self._half:
            _round_to_float16(groups.dtype, weights)
            max_abs = max_abs.astype(np.float16).astype(np.float32)
        scale: NDArray[np.floating] = (max_abs / np.float32(MAX_INT)).astype(self.dtype)
        divisor = scale.astype(np.float32)
        empty = np.flatnonzero(divisor == 0)
        divisor[empty] = 1
        np.divide(weights, divisor, out=x)
        if self._half:
            _round_to_11_bits(x, scratch)
        np.add(x, np.float32(MAX_INT), out=x)
        if self._half:
            _round_to_11_bits(x, scratch)
        np.rint(x, out=x)
        np.clip(x, 0, 2 * MAX_INT, out=x)
        levels = self._levels[:, :count]
        np.copyto(levels, x, casting="unsafe")
        if empty.size:
            # The scale underflowed to zero; w / 0 is NaN or infinite, which MLC's min and max turn into 0 or 14.
            levels[:, empty] = np.where(weights[:, empty] > 0, 2 * MAX_INT, 0)
        return scale

    def _pack(self, count: int) -> NDArray[np.uint8]:
        """Packs the first `count` columns of `_levels` into (count, 16) bytes, two levels a byte, the first one low."""
        levels = self._levels[:, :count]
        packed = np.left_shift(levels[1::2], 4)
        np.bitwise_or(packed, levels[0::2], out=packed)
        return packed.T


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


def row_blocks(shape: tuple[int, ...], max_values: int) -> Iterator[tuple[int, int]]:
    """Cuts axis 0 into runs of rows of at most `max_values` values each (always at least one row).

    Yields:
        (first row, number of rows).
    """
    rows = shape[0]
    width = int(np.prod(shape[1:], dtype=np.int64))
    step = max(1, max_values // max(1, width))
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


def _bits(dtype: np.dtype[np.generic]) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint32 if dtype.itemsize == 4 else np.uint16)


def _load(groups: NDArray[np.generic], out: Float32) -> None:
    """Copies (G, 32) weights into (32, G) float32, exactly."""
    if groups.dtype == ml_dtypes.bfloat16:
        bits = out.view(np.uint32)
        np.copyto(bits, groups.view(np.uint16).T)
        np.left_shift(bits, 16, out=bits)
    else:
        np.copyto(out, groups.T, casting="same_kind")


def _round_to_float16(source: np.dtype[np.generic], weights: Float32) -> None:
    """Rounds to float16's values in place, to nearest even; magnitudes are below float16's overflow."""
    if source == np.float16:
        return
    if source == ml_dtypes.bfloat16:
        # bfloat16's 8 bits fit in float16's 11 except among float16's subnormals, which are multiples of 2**-24. That
        # is float32's spacing around 0.75, so adding it rounds those and leaves every larger bfloat16 as it is.
        np.add(weights, np.float32(0.75), out=weights)
        np.subtract(weights, np.float32(0.75), out=weights)
        return
    weights[...] = weights.astype(np.float16)


def _round_to_11_bits(x: Float32, scratch: Float32) -> None:
    """Rounds to 11 significant bits in place, to nearest even.

    Source: Veltkamp's splitting with 2**13 + 1; it equals float16 rounding for every float32 significand (tested).
    """
    np.multiply(x, np.float32(8193), out=scratch)
    np.subtract(scratch, x, out=x)
    np.subtract(scratch, x, out=x)
