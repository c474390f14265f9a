import numpy as np
import pytest
import tvm
from tvm.relax.frontend.nn.llm._decode_kernels import _attention_decode, _attention_decode_cpu
from tvm.relax.frontend.nn.llm._prefill_kernels import (
    _attention_prefill,
    _attention_prefill_ragged,
    _attention_prefill_ragged_cpu,
)
from tvm.script import tirx as T  # noqa: N812

from recursivemas.architectures.cpu_model import cpu_target
from recursivemas.compiler.pipeline import webgpu_target
from recursivemas.mlc.score_cap import cap_scores
from recursivemas.system.errors import InputError

HEADS, KV_HEADS, WIDTH = 4, 2, 8


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, cap: float) -> np.ndarray:
    """(T, heads, width) in numpy, causal."""
    k, v = (np.repeat(each, HEADS // KV_HEADS, axis=1).astype(np.float64) for each in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) * scale
    scores = cap * np.tanh(scores / cap)
    scores[:, ~np.tri(len(q), dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hij,jhd->ihd", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("cap", [0.5, 3.0, 50.0])
def test_capped_kernel_equals_numpy(cap: float) -> None:
    kernel = _attention_prefill_ragged_cpu(KV_HEADS, HEADS, WIDTH, WIDTH, "float32", {})
    mod = cap_scores(tvm.IRModule({"attention": kernel.with_attr("global_symbol", "attention")}), cap)
    run = tvm.compile(mod, target=cpu_target())["attention"]
    rng, length, scale = np.random.default_rng(0), 7, 1.5
    q = 3 * rng.standard_normal((length, HEADS, WIDTH)).astype(np.float32)
    k, v = (3 * rng.standard_normal((length, KV_HEADS, WIDTH)).astype(np.float32) for _ in range(2))
    ends, start = np.array([0, length], np.int32), np.zeros(1, np.int32)
    output, lse = np.zeros_like(q), np.zeros((length, HEADS), np.float32)
    arrays = [tvm.runtime.tensor(each) for each in (q, ends, k, v, ends, np.arange(length, dtype=np.int32), start)]
    out, sums = tvm.runtime.tensor(output), tvm.runtime.tensor(lse)
    run(*arrays, out, sums, 1, 0, 1.0, 10000.0, scale)
    np.testing.assert_allclose(out.numpy(), _attention(q, k, v, scale, cap), rtol=1e-4, atol=1e-5)


def test_every_kernel_of_a_cache_can_be_capped() -> None:
    gpu = webgpu_target()
    kernels = {
        "decode": _attention_decode(KV_HEADS, HEADS, 16, "float16", False, {}, gpu),
        "prefill": _attention_prefill(KV_HEADS, HEADS, 16, "float16", False, {}, gpu),
        "ragged": _attention_prefill_ragged(KV_HEADS, HEADS, 16, 16, "float16", {}, gpu),
        "decode_cpu": _attention_decode_cpu(KV_HEADS, HEADS, 16, "float32", False, {}),
    }
    mod = tvm.IRModule({name: kernel.with_attr("global_symbol", name) for name, kernel in kernels.items()})
    capped = cap_scores(mod, 64.0)
    for name in kernels:
        assert capped[name].script().count("T.float32(0.03125)") == 1 + mod[name].script().count("T.float32(0.03125)")


def test_an_unknown_attention_kernel_is_refused() -> None:
    @T.prim_func(s_tir=True)
    def other(x: T.Buffer((4,), "float32"), sm_scale: T.float32) -> None:
        for i in range(4):
            x[i] = x[i] * sm_scale

    with pytest.raises(InputError, match="attention kernel other has 0 places to cap scores at"):
        cap_scores(tvm.IRModule({"other": other}), 50.0)
