"""The links' GELU, which has to approximate the erf that WGSL lacks."""

import math

import numpy as np
import tvm
from tvm import te

from recursivemas.compiler.links import gelu


def test_gelu_is_the_erf_form_within_a_millionth() -> None:
    x = np.concatenate([np.linspace(-12, 12, 200_001), np.logspace(-20, 2, 2001), -np.logspace(-20, 2, 2001)])
    x = x.astype(np.float32)
    source = te.placeholder(x.shape, "float32", name="x")
    built = tvm.compile(te.create_prim_func([source, gelu(source)]), target="llvm")
    out = tvm.runtime.empty(x.shape, "float32")
    built(tvm.runtime.tensor(x), out)
    wide = x.astype(np.float64)
    erf = np.array([math.erf(value / math.sqrt(2)) for value in wide])
    got = out.numpy().astype(np.float64)
    assert np.isfinite(got).all()
    # x / 2 * (1 + erf): an error of 1e-6 in erf is one of |x| / 2 * 1e-6 here.
    assert (np.abs(got - wide / 2 * (1 + erf)) <= 0.5e-6 * np.abs(wide) + 1e-30).all()
