"""Group quantization is equal to MLC's, bit for bit: to a scalar reference and, if available, to MLC-LLM itself."""

import math
import os

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from recursivemas.system.errors import InputError
from recursivemas.system.quantize import (
    SCHEMES,
    BadWeightsError,
    GroupQuantizer,
    _round_to_11_bits,
    _round_to_float16,
    cast,
    dequantize,
    find_scheme,
    quantized_shapes,
    row_blocks,
)

SOURCES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def scalar_reference(rows: NDArray[np.generic], dtype: str) -> tuple[NDArray[np.uint32], NDArray[np.floating]]:
    """MLC's scheme one weight at a time, in the model dtype's own arithmetic."""
    t = np.dtype(dtype).type
    weights = rows.astype(dtype)
    (_, words), (_, groups) = quantized_shapes(weights.shape)
    q_weight = np.zeros((len(weights), words), np.uint32)
    q_scale = np.zeros((len(weights), groups), dtype)
    with np.errstate(all="ignore"):
        for row, values in enumerate(weights):
            for group in range(groups):
                q_scale[row, group] = max(abs(v) for v in values[group * 32 : group * 32 + 32]) / t(7)
            for column, value in enumerate(values):
                y = float(t(t(value / q_scale[row, column // 32]) + t(7)))
                if math.isnan(y):
                    level = 0
                elif math.isinf(y):
                    level = 14 if y > 0 else 0
                else:
                    level = min(max(round(y), 0), 14)  # round() is half to even
                q_weight[row, column // 8] |= np.uint32(level << (4 * (column % 8)))
    return q_weight, q_scale


def awkward_weights(shape: tuple[int, int], source: str, seed: int) -> NDArray[np.generic]:
    """Rows of ordinary weights, exact ties, zeros, subnormals, tiny scales and large values."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(shape) * 0.02
    weights[0] = 0
    weights[1] = rng.integers(-14, 15, shape[1]) / 2
    weights[1, ::32] = 7
    weights[2] *= 1e-5
    weights[3] *= 2e-3
    weights[4] = rng.integers(-3, 4, shape[1]) * 2.0**-24
    weights[5] *= 1e6
    weights[6] = rng.integers(-28, 29, shape[1]) / 4 * 2.0**-9
    weights[7, : shape[1] // 2] = 0
    return np.clip(weights, -60000, 60000).astype(SOURCES[source])


def assert_same(got: tuple[NDArray, NDArray], expected: tuple[NDArray, NDArray]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("columns", [32, 64, 31, 40, 70, 129])
def test_quantize_equals_scalar_reference(dtype: str, source: str, columns: int) -> None:
    weights = awkward_weights((12, columns), source, seed=columns)
    assert_same(GroupQuantizer(dtype).quantize(weights), scalar_reference(weights, dtype))


@pytest.mark.parametrize("columns", [96, 100])
def test_quantize_across_blocks_equals_row_by_row(columns: int) -> None:
    weights = awkward_weights((3000, columns), "bfloat16", seed=1)
    quantizer = GroupQuantizer("float16")
    whole = quantizer.quantize(weights)
    parts = [quantizer.quantize(weights[first : first + 7]) for first in range(0, 3000, 7)]
    assert_same(whole, tuple(np.concatenate([part[i] for part in parts]) for i in (0, 1)))


def test_round_to_11_bits_equals_float16_for_every_significand() -> None:
    significands = np.arange(1 << 23, 1 << 24, dtype=np.uint32)
    for part in np.array_split(significands.astype(np.float32) * np.float32(2.0**-20), 16):
        rounded = part.copy()
        _round_to_11_bits(rounded, np.empty_like(rounded))
        assert np.array_equal(rounded, part.astype(np.float16).astype(np.float32))


def test_round_to_float16_equals_numpy_for_every_bfloat16() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    every = every[np.isfinite(every) & (np.abs(every) < 65520)]
    rounded = every.copy()
    _round_to_float16(np.dtype(ml_dtypes.bfloat16), rounded)
    assert np.array_equal(rounded, every.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dequantize_is_within_half_a_step(dtype: str) -> None:
    weights = (np.random.default_rng(0).standard_normal((9, 70)) * 0.02).astype(np.float32)
    q_weight, q_scale = GroupQuantizer(dtype).quantize(weights)
    back = dequantize(q_weight, q_scale, 70)
    assert back.dtype == np.dtype(dtype)
    half_step = np.repeat(q_scale, 32, axis=1)[:, :70].astype(np.float32) / 2
    assert np.all(np.abs(back.astype(np.float32) - weights) <= half_step * 1.01)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", np.nan, "holds NaN"),
        ("float16", np.nan, "holds NaN"),
        ("float32", np.inf, "holds infinity"),
        ("float16", -np.inf, "holds infinity"),
        ("float16", 65536.0, "beyond float16's 65504"),
    ],
)
@pytest.mark.parametrize("source", ["float32", "bfloat16"])
def test_weights_that_cannot_be_stored_are_refused(dtype: str, value: float, message: str, source: str) -> None:
    weights = np.ones((4, 40), SOURCES[source])
    weights[3, 39] = value
    with pytest.raises(BadWeightsError, match=message):
        GroupQuantizer(dtype).quantize(weights)
    with pytest.raises(BadWeightsError, match=message):
        cast(weights, dtype)


def test_cast_rounds_to_nearest_even() -> None:
    weights = np.array([1 + 2**-11, 1 + 3 * 2**-11, -0.0, 1e-8, 65519], np.float32)
    assert cast(weights, "float16").tobytes() == weights.astype(np.float16).tobytes()
    assert cast(weights, "float32") is weights


def test_row_blocks_cover_the_rows() -> None:
    assert list(row_blocks((7, 10), 25)) == [(0, 2), (2, 2), (4, 2), (6, 1)]
    assert list(row_blocks((2, 100), 25)) == [(0, 1), (1, 1)]
    assert list(row_blocks((5,), 25)) == [(0, 5)]


def test_find_scheme_names_the_choices() -> None:
    assert find_scheme("q4f16_1") is SCHEMES["q4f16_1"]
    with pytest.raises(InputError, match="'q3f16_1'; choose one of q0f32, q0f16, q4f32_1, q4f16_1"):
        find_scheme("q3f16_1")


@pytest.mark.parametrize("name", ["q4f16_1", "q4f32_1"])
@pytest.mark.parametrize("shape", [(64, 64), (37, 70), (130, 512), (9, 31)])
def test_quantize_equals_mlc_llm(name: str, shape: tuple[int, int]) -> None:
    if not os.environ.get("MLC_LLM_SOURCE_DIR"):
        pytest.skip("MLC_LLM_SOURCE_DIR is not set")
    import tvm

    from recursivemas.mlc.importing import import_mlc

    dtype = SCHEMES[name].dtype
    weights = awkward_weights(shape, "bfloat16", seed=3)
    expected = import_mlc().quantizations[name].quantize_weight(tvm.runtime.tensor(weights.astype(dtype)))
    assert_same(GroupQuantizer(dtype).quantize(weights), tuple(tensor.numpy() for tensor in expected))
