"""The links' GELUs: one has to approximate the erf that WGSL lacks, the other must not overflow."""

import math
from collections.abc import Callable

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import te

from recursivemas.compiler.links import gelu, gelu_tanh

X = np.concatenate([np.linspace(-12, 12, 200_001), np.logspace(-20, 2, 2001), -np.logspace(-20, 2, 2001)])
X = X.astype(np.float32)


def computed(form: Callable[[te.Tensor], te.Tensor]) -> NDArray[np.float64]:
    """What a compiled form makes of X."""
    source = te.placeholder(X.shape, "float32", name="x")
    built = tvm.compile(te.create_prim_func([source, form(source)]), target="llvm")
    out = tvm.runtime.empty(X.shape, "float32")
    built(tvm.runtime.tensor(X), out)
    got: NDArray[np.float64] = out.numpy().astype(np.float64)
    assert np.isfinite(got).all()
    return got


def test_gelu_is_the_erf_form_within_a_millionth() -> None:
    wide = X.astype(np.float64)
    erf = np.array([math.erf(value / math.sqrt(2)) for value in wide])
    got = computed(gelu)
    # x / 2 * (1 + erf): an error of 1e-6 in erf is one of |x| / 2 * 1e-6 here.
    assert (np.abs(got - wide / 2 * (1 + erf)) <= 0.5e-6 * np.abs(wide) + 1e-30).all()


def test_gelu_tanh_is_the_tanh_form_within_a_millionth() -> None:
    wide = X.astype(np.float64)
    tanh = np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
    assert (np.abs(computed(gelu_tanh) - wide / 2 * (1 + tanh)) <= 0.5e-6 * np.abs(wide) + 1e-30).all()
