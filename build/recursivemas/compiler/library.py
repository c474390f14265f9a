"""Compiles a model library: one `.wasm` with every function of docs/abi.md."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tvm

from recursivemas.compiler import abi
from recursivemas.compiler.export import export_config
from recursivemas.compiler.model_facts import ModelFacts, relax_facts
from recursivemas.compiler.models import ModelConfig
from recursivemas.compiler.pipeline import Schedule, build_executable, webgpu_target
from recursivemas.compiler.runtime import RuntimeObjects, ensure_runtime
from recursivemas.compiler.shaders import check_limits, shaders_of
from recursivemas.compiler.weights import StoredTensor
from recursivemas.system.names import ABI_VERSION, LINK_VARIANTS
from recursivemas.system.progress import Say, silent
from recursivemas.system.quantize import Scheme

# The page provides TVMFFIWasmSafeCall and TVMFFIWasmFunctionDeleter, hence the undefined symbols.
_LINK_FLAGS = (
    "--no-entry",
    *("-s", "WASM_BIGINT=1"),
    *("-s", "STANDALONE_WASM=1"),
    *("-s", "ALLOW_MEMORY_GROWTH=1"),
    *("-s", "ERROR_ON_UNDEFINED_SYMBOLS=0"),
    *("-s", "TOTAL_MEMORY=160MB"),
    "-Wl,--strip-all",
    # C++ templates leave thousands of equal functions. This takes three seconds, all of -Os ten times as long.
    *("-s", f"BINARYEN_EXTRA_PASSES={','.join(['duplicate-function-elimination'] * 2)}"),
)

Level: TypeAlias = Literal[0, 1, 2, 3, "s", "z"]
"""Levels of emcc. The objects are optimised already, so those above 1 only make the library smaller."""

SMALLEST: Level = "s"
"""The level whose libraries are smallest once gzipped (docs/release.md, small libraries)."""

SMALL_HIDDEN_SIZE = 256
"""Agents up to this hidden size are compiled without workgroup memory; see `schedule_for`."""


def schedule_for(config: ModelConfig, subgroup_size: int | None = None) -> Schedule:
    """The schedule of a model whose caller chooses none.

    Products of small agents do not fill a GPU, however they are cut, and a software adapter compiles the schedule
    `software` in a third of the time (docs/kernels.md, software adapters).
    """
    return "software" if config.hidden_size <= SMALL_HIDDEN_SIZE and subgroup_size is None else "gpu"


def compile_library(
    config: ModelConfig,
    scheme: Scheme,
    out: Path,
    *,
    schedule: Schedule | None = None,
    subgroup_size: int | None = None,
    optimise: Level = 1,
    say: Say = silent,
) -> Path:
    """Compiles a model of `recursivemas.compiler.models`; see `compile_module`.

    Args:
        config: The model.
        scheme: How its weights are stored.
        out: The `.wasm` to write; replaced if it exists.
        schedule: ``software`` for browsers whose adapter runs on the CPU; None for that of `schedule_for`.
        subgroup_size: Least size of the subgroups that its kernels use; None for a library that every browser runs.
        optimise: emcc's optimisation level when linking.
        say: Called with one line before each step.

    Returns:
        `out`.

    Raises:
        InputError: Emscripten is missing or too old, or the model does not fit WebGPU's limits.
    """
    exported = export_config(config, scheme, webgpu_target())
    metadata = library_metadata(relax_facts(config, scheme), exported.tensors, scheme)
    return compile_module(
        exported.module,
        metadata,
        out,
        schedule=schedule or schedule_for(config, subgroup_size),
        subgroup_size=subgroup_size,
        optimise=optimise,
        say=say,
    )


def compile_module(
    mod: tvm.IRModule,
    metadata: Mapping[str, Any],
    out: Path,
    *,
    schedule: Schedule = "gpu",
    subgroup_size: int | None = None,
    optimise: Level = 1,
    say: Say = silent,
) -> Path:
    """Compiles any model's module, after adding the functions of docs/abi.md that it lacks.

    Args:
        mod: From `export`, for the target of `pipeline.webgpu_target`.
        metadata: MLC's keys; ours, memory use and limits are added.
        out: The `.wasm` to write; replaced if it exists.
        schedule: ``software`` for browsers whose adapter runs on the CPU.
        subgroup_size: Least size of the subgroups that its kernels use; None for a library that every browser runs.
        optimise: emcc's optimisation level when linking.
        say: Called with one line before each step.

    Returns:
        `out`.

    Raises:
        InputError: Emscripten is missing or too old, or the model does not fit WebGPU's limits.
    """
    runtime = ensure_runtime(say)
    signature = abi.signature_of(mod)
    mod = abi.complete(mod)
    ours = {
        "abi": ABI_VERSION,
        "functions": abi.function_names(mod),
        "link_variants": [form.name for form in LINK_VARIANTS],
        "hidden_size": signature.hidden_size,
        "vocab_size": abi.vocabulary_of(mod),
        "dtype": signature.dtype,
        **({"recurrent_state_bytes": signature.state_bytes} if signature.state else {}),
        **({"subgroup_size": subgroup_size} if subgroup_size else {}),
    }
    say("compiling the model's functions for WebGPU")
    executable = build_executable(
        mod,
        {**metadata, "recursivemas": ours},
        schedule=schedule,
        bounds={"seq_len": int(metadata["prefill_chunk_size"])},
        target=webgpu_target(),
        subgroup_size=subgroup_size,
    )
    check_limits(shaders_of(executable.mod))
    say(f"linking {out.name}")
    link_library(executable, out, runtime, optimise)
    return out


def library_metadata(facts: ModelFacts, tensors: Iterable[StoredTensor], scheme: Scheme) -> dict[str, Any]:
    """MLC's keys of `_metadata`.

    Args:
        facts: The model's dimensions.
        tensors: What its functions take as `packed_params`, in call order.
        scheme: How its weights are stored.
    """
    cache = facts.kv_cache
    return {
        "model_type": facts.architecture,
        "quantization": scheme.name,
        "context_window_size": facts.context_window_size,
        "sliding_window_size": -1,
        "attention_sink_size": -1,
        "prefill_chunk_size": facts.prefill_chunk_size,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "kv_state_kind": "hybrid" if facts.recurrent_state_bytes else "kv_cache",
        "max_batch_size": 1,
        "params": [
            {"name": each.name, "shape": list(each.shape), "dtype": each.dtype, "preprocs": []} for each in tensors
        ],
        "kv_cache": {
            "num_hidden_layers": cache.num_hidden_layers,
            "num_attention_heads": cache.num_attention_heads,
            "num_key_value_heads": cache.num_key_value_heads,
            "head_dim": cache.qk_head_dim,
        },
    }


def link_library(executable: tvm.relax.VMExecutable, out: Path, runtime: RuntimeObjects, optimise: Level = 1) -> None:
    """Writes an executable and the runtime as one `.wasm`."""

    def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None) -> None:
        runtime.emscripten.run(
            [f"-O{optimise}", *_LINK_FLAGS, *runtime.objects, *objects, "-o", output, *(options or ())], "linking"
        )

    # emscripten's clang is older than TVM's LLVM and cannot read its bitcode, but it can link object files.
    link.object_format = "o"  # type: ignore[attr-defined]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".linking-") as scratch:
        made = Path(scratch, "library.wasm")
        executable.export_library(str(made), fcompile=link, workspace_dir=scratch)
        made.replace(out)
