"""Compiling a library, without a browser: it writes one file or none, its metadata is right, its shaders fit."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import transformers
import tvm
from tvm import relax, tirx

from bench import calls, gpu, real_size, released_sizes
from bench._executable import executable_of
from harness import naga
from harness.tiny_models import CASES, Case
from recursivemas.compiler import abi, library, limits
from recursivemas.compiler.export import export_config
from recursivemas.compiler.kernels import decode_product
from recursivemas.compiler.kernels.product import Product
from recursivemas.compiler.library import compile_library, schedule_for
from recursivemas.compiler.library_metadata import read_library_metadata
from recursivemas.compiler.limits import PROMISED
from recursivemas.compiler.models import ModelConfig, load_model_config, param_specs
from recursivemas.compiler.pipeline import Schedule, webgpu_target
from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.runtime.toolchain import Emscripten
from recursivemas.compiler.shaders import Shader, beyond_promised, check_limits, needed_limits, shaders_of
from recursivemas.compiler.weights import stored_tensors
from recursivemas.compiler.wgsl import refused_by_dawn
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

TINY: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 99,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return load_model_config(TINY)


@cache
def _executable(
    quantization: str,
    head_dim: int = TINY["head_dim"],
    subgroup_size: int | None = None,
    schedule: Schedule = "gpu",
) -> relax.VMExecutable:
    return executable_of({**TINY, "head_dim": head_dim}, quantization, subgroup_size, schedule)


@cache
def _shaders(
    quantization: str,
    head_dim: int = TINY["head_dim"],
    subgroup_size: int | None = None,
    schedule: Schedule = "gpu",
) -> list[Shader]:
    return shaders_of(_executable(quantization, head_dim, subgroup_size, schedule).mod)


@pytest.mark.parametrize("quantization", ["q0f32", "q4f16_1"])
def test_compile_library_writes_one_wasm_that_describes_itself(
    tmp_path: Path, config: ModelConfig, quantization: str
) -> None:
    scheme = find_scheme(quantization)
    out = compile_library(config, scheme, tmp_path / "agent" / "agent.wasm", schedule="software", optimise=0)
    assert [path.name for path in out.parent.iterdir()] == ["agent.wasm"]
    assert out.read_bytes()[:4] == b"\0asm"
    metadata = read_library_metadata(out)
    assert (metadata["model_type"], metadata["quantization"]) == ("qwen3", quantization)
    assert (metadata["context_window_size"], metadata["prefill_chunk_size"]) == (128, 128)
    stored = [tensor for spec in param_specs(config) for tensor in stored_tensors(spec, scheme)]
    listed = [(each["name"], tuple(each["shape"]), each["dtype"]) for each in metadata["params"]]
    assert listed == [(tensor.name, tensor.shape, tensor.dtype) for tensor in stored]
    ours = metadata["recursivemas"]
    assert (ours["abi"], ours["hidden_size"], ours["vocab_size"], ours["dtype"]) == (1, 40, 99, scheme.dtype)
    largest = max(tensor.nbytes for tensor in stored)
    assert ours["required_limits"]["maxStorageBufferBindingSize"] >= largest
    promised = {name: PROMISED[name] for name in ours["required_limits"]}
    assert all(0 < value <= promised[name] for name, value in ours["required_limits"].items())
    assert metadata["memory_usage"]["prefill"] >= metadata["memory_usage"]["get_last_hidden"] > 0


def test_compile_library_leaves_what_was_there_when_linking_fails(
    tmp_path: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_runtime()

    def fail(self: Emscripten, arguments: object, doing: str) -> None:
        raise RuntimeError(f"emcc failed while {doing}")

    nothing = relax.build(tvm.IRModule(), target=webgpu_target(), system_lib=True)
    monkeypatch.setattr(library, "build_executable", lambda *_, **__: nothing)
    monkeypatch.setattr(library, "shaders_of", lambda _: [])
    monkeypatch.setattr(Emscripten, "run", fail)
    out = tmp_path / "agent.wasm"
    out.write_bytes(b"the earlier one")
    with pytest.raises(RuntimeError, match="while linking"):
        compile_library(config, find_scheme("q0f32"), out, schedule="software")
    assert [path.name for path in tmp_path.iterdir()] == ["agent.wasm"]
    assert out.read_bytes() == b"the earlier one"


def test_host_code_uses_only_what_webassembly_had_at_first(tmp_path: Path) -> None:
    """wasm-opt, which sees no list of features in a linked library, refuses a library with more, for instance one
    that extends the sign of an integer by an instruction."""
    index = tirx.Var("index", "int64")
    narrow = tirx.Cast("int64", tirx.Cast("int32", index))
    function = tirx.PrimFunc([index], tirx.Return(narrow)).with_attr("global_symbol", "narrow")
    made = tvm.tirx.build(tvm.IRModule({"narrow": function}), target=webgpu_target().host)
    made.write_to_file(str(tmp_path / "narrow.o"), "o")
    assert b"sign-ext" not in (tmp_path / "narrow.o").read_bytes()


def test_compile_library_refuses_heads_that_no_attention_kernel_fits(tmp_path: Path) -> None:
    config = load_model_config({**TINY, "head_dim": 10})
    with pytest.raises(InputError, match="head_dim 10") as caught:
        compile_library(config, find_scheme("q0f32"), tmp_path / "agent.wasm", schedule="software")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantization", ["q0f16", "q4f16_1", "q4f32_1"])
@pytest.mark.parametrize("schedule", ["gpu", "software"])
def test_shaders_compile_and_fit_what_every_page_may_rely_on(schedule: Schedule, quantization: str) -> None:
    shaders = _shaders(quantization, schedule=schedule)
    check_limits(shaders)
    assert refused_by_dawn(shaders) == {}
    assert len({shader.name for shader in shaders}) == len(shaders) > 40
    for shader in shaders:
        assert ("enable f16;" in shader.source) == bool(re.search(r"\bf16\b(?!;)", shader.source)), shader.name
        assert not re.search(r"\b[iu]64\b|\bf64\b", shader.source), shader.name
        assert "subgroup" not in shader.source, shader.name
        # The runtime reserves blockIdx.z to spread large grids.
        assert "blockIdx.z" not in shader.source.replace("blockIdx.z * gridDim.x", ""), shader.name


def test_small_agents_need_no_workgroup_memory_for_prompts_and_large_ones_keep_it(config: ModelConfig) -> None:
    at_most, above = (load_model_config({**TINY, "hidden_size": size}) for size in (256, 264))
    assert [schedule_for(each) for each in (config, at_most, above)] == ["software", "software", "gpu"]
    assert schedule_for(config, subgroup_size=32) == "gpu"
    cases: list[tuple[Schedule, bool]] = [("gpu", True), ("software", False)]
    for schedule, barriers in cases:
        of_prompts = {
            shader.name: "workgroupBarrier()" in shader.source
            for shader in _shaders("q4f32_1", schedule=schedule)
            if shader.name.startswith(("tile_product", "prefill_attention"))
        }
        assert len(of_prompts) >= 5
        assert set(of_prompts.values()) == {barriers}


@pytest.mark.parametrize("configs", [calls.CONFIGS, gpu.TINY], ids=["calls", "gpu"])
def test_small_agents_of_benches_are_compiled_as_the_real_ones_that_they_stand_for(
    configs: dict[str, dict[str, Any]],
) -> None:
    assert [schedule_for(load_model_config(each)) for each in configs.values()] == ["gpu"] * 3


@pytest.mark.parametrize("quantization", ["q4f16_1", "q4f32_1"])
@pytest.mark.parametrize("size", [4, 32, 128])
@pytest.mark.parametrize("head_dim", [16, 128])
def test_shaders_with_subgroups_compile_and_need_no_more(quantization: str, size: int, head_dim: int) -> None:
    shaders, base = _shaders(quantization, head_dim, size), _shaders(quantization, head_dim)
    assert refused_by_dawn(shaders) == {}
    assert beyond_promised(shaders) == {}
    assert [shader.name for shader in shaders] == [shader.name for shader in base]
    assert all("enable subgroups;" in shader.source for shader in shaders)
    exchanging = {shader.name for shader in shaders if "subgroupShuffleXor(" in shader.source}
    kinds = {re.sub(r"\d*_kernel$", "", name) for name in exchanging}
    assert kinds == {"append", "decode_attention", "decode_product", "link_product"}
    barriers, earlier = (
        {shader.name: shader.source.count("workgroupBarrier()") for shader in each} for each in (shaders, base)
    )
    assert all(barriers[name] <= earlier[name] for name in barriers)
    products = {name for name in exchanging if name.startswith("decode_product")}
    assert {earlier[name] for name in products} == {1}
    # A team has up to 32 threads; a barrier is needed where it does not lie in one subgroup.
    columns = max(TINY["num_attention_heads"] * head_dim, TINY["intermediate_size"])
    widest = decode_product.choice(Product(TINY["hidden_size"], columns, "float16", True, "float16")).team
    assert {barriers[name] for name in products} == ({0} if widest <= size else {0, 1})


def test_workgroup_memory_is_counted_as_dawn_counts_it() -> None:
    """Each variable counts as a multiple of 16 bytes, so this shader needs 16 more than every device offers."""
    body = "@compute @workgroup_size(1, 1, 1) fn main() { a[0] = 1f; b[0] = 1f; }"
    source = f"var<workgroup> a : array<f32, 4093>;\nvar<workgroup> b : array<f32, 3>;\n{body}\n"
    starts = "// Function: main\n//----\n"
    module = SimpleNamespace(kind="webgpu", imports=[], inspect_source=lambda _: starts + source)
    (shader,) = shaders_of(cast(Any, module))
    assert shader.workgroup_bytes == (16 << 10) + 16
    smaller = replace(shader, workgroup_bytes=16 << 10)  # what is said to fit is tried
    assert "use of workgroup storage" in refused_by_dawn([smaller])["main"]
    assert refused_by_dawn([shader]) == {}  # a larger limit can be asked for; this device has none


@pytest.mark.parametrize("head_dim", [16, 64, 96, 128, 256])
@pytest.mark.parametrize("quantization", ["q4f16_1", "q4f32_1"])
def test_shaders_need_only_what_every_device_offers(quantization: str, head_dim: int) -> None:
    shaders = _shaders(quantization, head_dim)
    assert beyond_promised(shaders) == {}
    assert refused_by_dawn(shaders) == {}
    needed = needed_limits(shaders)
    largest = max(shader.storage_buffers for shader in shaders)
    assert needed["maxStorageBuffersPerShaderStage"] == largest > 4


@pytest.mark.parametrize(
    ("schedule", "head_dim"), [("gpu", TINY["head_dim"]), ("gpu", 64), ("gpu", 128), ("software", 64)]
)
@pytest.mark.parametrize("quantization", ["q0f32", "q4f32_1", "q4f16_1"])
def test_naga_accepts_every_shader(quantization: str, schedule: Schedule, head_dim: int) -> None:
    """Naga is Firefox's compiler; Dawn, Chrome's, is tested above."""
    shaders = _shaders(quantization, head_dim, schedule=schedule)
    adapter = naga.adapter_for(shaders)
    if adapter is None:
        pytest.skip("wgpu finds no adapter that has what these shaders need")
    assert naga.refused_by_naga(shaders, adapter) == {}
    wrong = Shader("wrong", "@compute @workgroup_size(1) fn main() { let x : f32 = 1u; }", 1, 0, 0)
    assert "expected to be `f32`" in naga.refused_by_naga([wrong], adapter)["wrong"]


def _check_with_both(shaders: list[Shader]) -> None:
    """Checks that Dawn and naga accept all shaders."""
    assert refused_by_dawn(shaders) == {}
    adapter = naga.adapter_for(shaders)
    if adapter is None:
        pytest.skip("wgpu finds no adapter that has what these shaders need")
    assert naga.refused_by_naga(shaders, adapter) == {}


@pytest.mark.parametrize(
    ("quantization", "schedule"),
    [
        ("q4f32_1", "gpu"),
        *(pytest.param(*build, marks=pytest.mark.slow) for build in (("q4f32_1", "software"), ("q4f16_1", "gpu"))),
    ],
)
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "qwen3"], ids=lambda case: case.name)
def test_dawn_and_naga_accept_every_family_with_its_table_in_parts(
    case: Case, quantization: str, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above have qwen3, with a whole table."""
    config = getattr(transformers, case.architecture).config_class(**case.shape)
    raw = {**json.loads(config.to_json_string()), "architectures": [case.architecture]}
    monkeypatch.setattr(limits, "MAX_PART_BYTES", case.shape["vocab_size"] * 16)
    specs = param_specs(load_model_config(raw))
    stored = [tensor.name for spec in specs for tensor in stored_tensors(spec, find_scheme(quantization))]
    assert any("embed_tokens.parts.1" in name for name in stored)
    _check_with_both(shaders_of(executable_of(raw, quantization, schedule=schedule).mod))


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["q4f32_1", "q4f16_1"])
@pytest.mark.parametrize("name", [*real_size.MODELS, *released_sizes.MODELS])
def test_dawn_and_naga_accept_the_shapes_of_published_agents(name: str, quantization: str) -> None:
    raw = {**real_size.MODELS, **released_sizes.MODELS}[name]
    _check_with_both(shaders_of(executable_of(raw, quantization).mod))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("x[i.x] = x[i.x] * 2.0f;", "no matching overload"),
        ("if (x[i.x] > 1.0h) { workgroupBarrier(); }", "uniform control flow"),
        ("y[i.x] = 0.0h;", "unresolved value 'y'"),
    ],
)
def test_wgsl_that_chrome_would_refuse_is_found(body: str, complaint: str) -> None:
    source = (
        "enable f16; @group(0) @binding(0) var<storage, read_write> x : array<f16>; @compute @workgroup_size(64) "
        f"fn main(@builtin(global_invocation_id) i : vec3<u32>) {{ {body} }}"
    )
    good = Shader("good", source.replace(body, "x[i.x] = x[i.x] * 2.0h;"), 64, 0, 1)
    problems = refused_by_dawn([good, Shader("bad", source, 64, 0, 1)])
    assert list(problems) == ["bad"]
    assert complaint in problems["bad"]


def test_no_shader_stores_a_dequantized_weight() -> None:
    names = [shader.name for shader in _shaders("q4f32_1")]
    assert not [name for name in names if name.startswith("dequantize")]
    assert [name for name in names if "dequantize" in name]


def test_weights_are_checked_once_and_passed_as_one_tuple() -> None:
    weights = [
        each for spec in param_specs(load_model_config(TINY)) for each in stored_tensors(spec, find_scheme("q4f32_1"))
    ]
    text = _executable("q4f32_1").as_text()
    functions = dict(re.findall(r"^@(\w+):\n(.*?)(?=^@|\Z)", text, re.MULTILINE | re.DOTALL))
    checks = {name: body.count("check_tensor_info") for name, body in functions.items()}
    assert checks.pop("embed") == len(weights) + 1
    assert "latent_step_paper" in checks
    # The others check only what changes from call to call; the link is what has most tensors.
    assert max(checks.values()) < 12 < len(weights)
    calls = [line for line in functions["latent_step_paper"].splitlines() if "get_last_hidden_step" in line]
    assert len(calls) == 1
    assert calls[0].count("%") == 4


def test_check_limits_refuses_a_shader_that_is_too_large() -> None:
    with pytest.raises(InputError, match="attention needs 40000 bytes of workgroup memory; a page may rely on 32768"):
        check_limits([Shader("attention", "", 64, 40000, 3)])


def test_complete_keeps_what_a_module_brings(config: ModelConfig) -> None:
    mod = export_config(config, find_scheme("q0f32"), webgpu_target()).module
    once = abi.complete(mod)
    marked = once.clone()
    marked["prefill"] = once["prefill"].with_attr("theirs", 1)
    for name in list(marked.get_global_vars()):
        if name.name_hint.startswith(("latent_", "inner_link", "outer_link")):
            del marked[name]
    twice = abi.complete(marked)
    assert "theirs" in twice["prefill"].attrs
    assert abi.function_names(twice) == abi.function_names(once)


def test_latent_steps_wait_for_nothing(config: ModelConfig) -> None:
    """A step only calls kernels, the KV cache's attention and the library's own functions."""
    mod = abi.complete(export_config(config, find_scheme("q0f32"), webgpu_target()).module)
    for name in ("latent_step_paper", "latent_step_ln_res", "get_last_hidden_step"):
        called: set[str] = set()

        def visit(expression: relax.Expr, called: set[str] = called) -> None:
            if isinstance(expression, relax.ExternFunc):
                called.add(str(expression.global_symbol))

        relax.analysis.post_order_visit(mod[name], visit)
        assert called <= {"recursivemas.attend_one"}
