import functools
import sys
import types
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.script import tirx as T  # noqa: N812

from recursivemas.compiler.relax_functions import define
from recursivemas.mlc import compat
from recursivemas.mlc.compat import (
    call_tir_order,
    expert_mask,
    gelu_form,
    kv_cache,
    relax_names,
    rope,
    thread_limit,
    topk_init,
)
from recursivemas.mlc.compat.intercept import View, intercept, seeing
from recursivemas.mlc.importing import Mlc, import_mlc
from recursivemas.mlc.tree import mlc_module


def test_every_bridge_has_a_name_and_a_reason() -> None:
    bridges = [*compat.BEFORE_IMPORT, *compat.AFTER_IMPORT]
    assert len({bridge.name for bridge in bridges}) == len(bridges)
    assert all(len(bridge.reason) > 60 for bridge in bridges)


def test_relax_names_adds_what_is_missing_and_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relax, "Constant", "already here", raising=False)
    monkeypatch.delattr(relax, "StringImm", raising=False)
    relax_names.BRIDGE.apply()
    assert relax.Constant == "already here"
    assert relax.StringImm is tvm.ir.StringImm


def test_kv_cache_replaces_the_placeholder(fake_tree: Any) -> None:
    import_mlc()
    assert mlc_module("nn.kv_cache").PagedKVCache.create_generic is kv_cache.create_generic


def test_call_tir_order_is_seen_by_the_kernels_module_alone(fake_tree: Any) -> None:
    import_mlc()
    seen = mlc_module("op.moe_misc").op
    assert seen.tensor_ir_op is not op.tensor_ir_op
    assert seen.softmax is op.softmax


def test_intercept_replaces_functions_one_after_the_other() -> None:
    module = types.SimpleNamespace(op=types.SimpleNamespace(a=1, b=2, c=3))
    intercept(module, "op", a=lambda: "a")
    intercept(module, "op", b=lambda: "b")
    assert isinstance(module.op, View)
    assert (module.op.a(), module.op.b(), module.op.c) == ("a", "b", 3)
    with seeing(module, "op", c=lambda: "c"):
        assert (module.op.a(), module.op.c()) == ("a", "c")
    assert module.op.c == 3


def _row_kernel(scalar_last: bool) -> tirx.PrimFunc:
    if scalar_last:

        @T.prim_func(private=True, s_tir=True)
        def last(x: T.handle, y: T.handle, n: T.int64) -> None:
            X = T.match_buffer(x, (n,), "float32")
            Y = T.match_buffer(y, (n,), "float32")
            for i in range(n):
                with T.sblock("copy"):
                    v = T.axis.spatial(n, i)
                    Y[v] = X[v] + T.float32(1)

        return last

    @T.prim_func(private=True, s_tir=True)
    def first(x: T.handle, n: T.int64, y: T.handle) -> None:
        X = T.match_buffer(x, (n,), "float32")
        Y = T.match_buffer(y, (n,), "float32")
        for i in range(n):
            with T.sblock("copy"):
                v = T.axis.spatial(n, i)
                Y[v] = X[v] + T.float32(1)

    return first


@pytest.mark.parametrize("scalar_last", [True, False])
def test_scalars_first_makes_a_kernel_that_tvm_can_call(scalar_last: bool) -> None:
    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            size = x.shape[0]
            return call_tir_order.tensor_ir_op(
                _row_kernel(scalar_last), "copy", [x, size], Tensor.placeholder([size], "float32")
            )

    mod, _ = Module().export_tvm({"forward": {"x": nn.spec.Tensor(["n"], "float32")}})
    vm = relax.VirtualMachine(relax.build(mod, "llvm"), tvm.cpu())
    x = np.arange(5, dtype=np.float32)
    result = vm["forward"](tvm.runtime.tensor(x))
    np.testing.assert_array_equal(result.numpy(), x + 1)


def _threaded(threads: int) -> tirx.PrimFunc:
    @T.prim_func(private=True, s_tir=True)
    def kernel(a: T.handle, b: T.handle):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n = T.int64()
        A = T.match_buffer(a, (n,), "float32")
        B = T.match_buffer(b, (n,), "float32")
        for io in T.thread_binding(0, T.ceildiv(n, threads), "blockIdx.x"):
            for ii in T.thread_binding(0, threads, "threadIdx.x"):
                with T.sblock("copy"):
                    vi = T.axis.spatial(n, io * threads + ii)
                    T.where(io * threads + ii < n)
                    B[vi] = A[vi]

    return kernel


def test_with_threads_shrinks_blocks_that_are_too_large() -> None:
    tvm.ir.assert_structural_equal(thread_limit.with_threads(_threaded(1024), 256), _threaded(256))


def test_with_threads_leaves_blocks_that_fit() -> None:
    kernel = _threaded(128)
    assert thread_limit.with_threads(kernel, 256) is kernel


def test_expert_mask_counts_tokens_expert_after_expert() -> None:
    class Module(nn.Module):
        def forward(self, chosen: Tensor) -> Tensor:
            return expert_mask.moe_cumsum(chosen, 3)

    mod, _ = Module().export_tvm({"forward": {"chosen": nn.spec.Tensor(["tokens", 2], "int32")}})
    vm = relax.VirtualMachine(relax.build(mod, "llvm"), tvm.cpu())
    chosen = np.array([[0, 2], [2, 1], [0, 1], [2, 0]], np.int32)
    expected = np.cumsum([expert in row for expert in range(3) for row in chosen])
    np.testing.assert_array_equal(vm["forward"](tvm.runtime.tensor(chosen)).numpy(), expected)


def test_topk_init_sets_every_place() -> None:
    @T.prim_func(s_tir=True)
    def kernel(scores: T.Buffer((3,), "float32"), experts: T.Buffer((3,), "int32")) -> None:
        topk_init.init_local_top_k(3, "float32", scores, experts)

    scores, experts = (tvm.runtime.tensor(np.full(3, 7, dtype)) for dtype in ("float32", "int32"))
    tvm.compile(kernel, target="llvm")(scores, experts)
    np.testing.assert_array_equal(experts.numpy(), [0, 1, 2])
    assert (scores.numpy() < -3e38).all()


def test_a_placeholder_stands_for_a_cache_that_nobody_uses() -> None:
    build = kv_cache.CacheBuild(placeholder=True)
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    builder = relax.BlockBuilder()

    def body() -> relax.Expr:
        cache = kv_cache.create_generic(
            **shape,
            qk_head_dim=16,
            v_head_dim=16,
            rope_mode=kv_cache.RopeMode.NORMAL,
            rope_scale=1.0,
            rope_theta=1e4,
            dtype="float32",
        )
        return cache._expr

    with kv_cache.building(build):  # without a target, which kernels would need
        define(builder, "main", [], body)
    assert [name.name_hint for name in builder.finalize().get_global_vars()] == ["main"]
    assert build.made == kv_cache.CacheShape(**shape, qk_head_dim=16, v_head_dim=16)


def test_gelu_form_names_the_tanh_form(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "gelu": functools.partial(nn.gelu, approximate=False),
        "gelu_new": functools.partial(nn.gelu, approximate=True),
    }
    module = types.ModuleType("mlc_llm.model.fake_model")
    module.ACT2FN = table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    gelu_form.BRIDGE.apply()
    assert table["gelu_new"].keywords == {"approximate": "tanh"}
    assert table["gelu"].keywords == {"approximate": False}


def test_gptj_loader_maps_every_parameter(mlc: Mlc) -> None:
    config = mlc.models["gptj"].config.from_dict(
        {
            "vocab_size": 32,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_inner": None,
            "rotary_dim": 4,
            "n_positions": 8,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
        }
    )
    mapping = mlc.models["gptj"].source["huggingface-safetensor"](config, mlc.quantizations["q0f32"])
    names = [f"transformer.h.1.attn.{part}_proj.weight" for part in "qkv"]
    assert mapping.param_map["transformer.h.1.attn.c_attn.weight"] == names
    assert mapping.param_map["lm_head.bias"] == ["lm_head.bias"]
    parts = [np.full((2, 3), value, np.float32) for value in range(3)]
    joined = mapping.map_func["transformer.h.1.attn.c_attn.weight"](*parts)
    np.testing.assert_array_equal(joined, np.concatenate(parts))


SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    },
    "yarn": {"factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 256},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_rope_table_equals_transformers(kind: str) -> None:
    rope_utils = pytest.importorskip("transformers.modeling_rope_utils", reason="transformers is not installed")
    from transformers import LlamaConfig

    parameters = {"rope_type": kind, "rope_theta": 50000.0, **SCALINGS[kind]}
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=2, max_position_embeddings=4096, rope_parameters=parameters
    )
    if kind == "default":
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        expected, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        expected, factor = rope_utils.ROPE_INIT_FUNCTIONS[kind](config, device="cpu")
    made = rope.table(50000.0, 1.0, 64, {**SCALINGS[kind], "rope_type": kind}, interleaved=False)
    assert made is not None
    np.testing.assert_allclose(made.frequencies, expected.numpy(), rtol=2e-6)
    assert made.factor == pytest.approx(factor)


def test_rope_table_leaves_unknown_kinds_to_tvm() -> None:
    assert rope.table(10000.0, 1.0, 8, {"rope_type": "longrope"}, interleaved=False) is None


def _turned(x: NDArray[Any], angles: NDArray[Any], interleaved: bool) -> NDArray[Any]:
    pairs = angles.shape[-1]
    first, second = (
        (x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2])
        if interleaved
        else (
            x[..., :pairs],
            x[..., pairs : 2 * pairs],
        )
    )
    a = first * np.cos(angles) - second * np.sin(angles)
    b = second * np.cos(angles) + first * np.sin(angles)
    turned = np.stack([a, b], -1).reshape(*a.shape[:-1], -1) if interleaved else np.concatenate([a, b], -1)
    return np.concatenate([turned, x[..., 2 * pairs :]], -1)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("rotary_dim", [8, 4])
def test_split_rotary_turns_queries_and_keys_only(interleaved: bool, rotary_dim: int) -> None:
    made = rope.table(10000.0, 1.0, rotary_dim, None, interleaved=interleaved)
    assert made is not None
    made = rope.RopeTable(made.frequencies, 1.5, interleaved)
    kernel = rope.split_rotary(made, 2, 1, 8, "float32").with_attr("global_symbol", "split_rotary")
    run = tvm.compile(kernel, target="llvm")
    positions = np.array([0, 1, 900, 4000], np.int32)
    qkv = np.random.default_rng(0).standard_normal((4, 4, 8)).astype(np.float32)
    outputs = [tvm.runtime.tensor(np.zeros((4, heads, 8), np.float32)) for heads in (2, 1, 1)]
    run(tvm.runtime.tensor(qkv), tvm.runtime.tensor(positions), *outputs, tvm.runtime.tensor(made.frequencies))
    q, k, v = (output.numpy() for output in outputs)
    angles = (positions[:, None, None].astype(np.float32) * made.frequencies).astype(np.float64)  # as in transformers
    untouched = qkv[..., rotary_dim:]
    expected = _turned(qkv, angles, interleaved) * 1.5
    expected[..., rotary_dim:] = untouched
    np.testing.assert_allclose(q, expected[:, :2], atol=2e-6)
    np.testing.assert_allclose(k, expected[:, 2:3], atol=2e-6)
    np.testing.assert_array_equal(v, qkv[:, 3:])
