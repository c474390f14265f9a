"""Compiling a model library: one `.wasm` with everything docs/abi.md lists."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm

from recursivemas.compiler import abi
from recursivemas.compiler.links import VARIANTS
from recursivemas.compiler.models import ModelConfig, param_specs
from recursivemas.compiler.models.module import build_module
from recursivemas.compiler.pipeline import Schedule, build_executable, webgpu_target
from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.runtime import RuntimeObjects, ensure_runtime
from recursivemas.compiler.shaders import check_limits, shaders_of
from recursivemas.compiler.weights import stored_tensors

Progress = Callable[[str], None]

# The page provides TVMFFIWasmSafeCall and TVMFFIWasmFunctionDeleter, hence the undefined symbols.
_LINK_FLAGS = (
    "--no-entry",
    *("-s", "WASM_BIGINT=1"),
    *("-s", "STANDALONE_WASM=1"),
    *("-s", "ALLOW_MEMORY_GROWTH=1"),
    *("-s", "ERROR_ON_UNDEFINED_SYMBOLS=0"),
    *("-s", "TOTAL_MEMORY=160MB"),
    "-Wl,--strip-all",
)


def compile_library(
    config: ModelConfig,
    scheme: Scheme,
    out: Path,
    *,
    schedule: Schedule = "gpu",
    optimise: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Compiles a model from our own definitions.

    Args:
        config: The model.
        scheme: Storage of its weights.
        out: The `.wasm` to write; replaced if it exists.
        schedule: ``software`` for browsers whose adapter runs on the CPU.
        optimise: emcc's optimisation level when linking, 0 to 3. The objects are optimised already: above 1, wasm-opt
            spends half a minute of CPU on a library that is a sixth smaller once gzipped.
        progress: Told, in a line, of each step before it starts.

    Returns:
        `out`.

    Raises:
        InputError: When emscripten is missing or too old.
    """
    target = webgpu_target()
    metadata = model_metadata(config, scheme)
    mod = build_module(config, scheme, target)
    return compile_module(mod, metadata, out, schedule=schedule, optimise=optimise, progress=progress)


def compile_module(
    mod: tvm.IRModule,
    metadata: Mapping[str, Any],
    out: Path,
    *,
    schedule: Schedule = "gpu",
    optimise: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Compiles any model's module, after adding the functions of docs/abi.md that it lacks.

    Args:
        mod: See `abi.complete`; built for the target of `pipeline.webgpu_target`.
        metadata: MLC's keys; ours, memory use and limits are added.
        out: The `.wasm` to write; replaced if it exists.
        schedule: ``software`` for browsers whose adapter runs on the CPU.
        optimise: emcc's optimisation level when linking, 0 to 3.
        progress: Told, in a line, of each step before it starts.

    Returns:
        `out`.

    Raises:
        InputError: When emscripten is missing or too old.
    """
    say = progress or (lambda _: None)
    runtime = ensure_runtime(progress)
    signature = abi.signature_of(mod)
    mod = abi.complete(mod)
    ours = {
        "abi": abi.ABI_VERSION,
        "functions": abi.function_names(mod),
        "link_variants": list(VARIANTS),
        "hidden_size": signature.hidden_size,
        "vocab_size": abi.vocabulary_of(mod),
        "dtype": signature.dtype,
    }
    say("compiling the model's functions for WebGPU")
    executable = build_executable(
        mod,
        {**metadata, "recursivemas": ours},
        schedule=schedule,
        bounds={"seq_len": int(metadata["prefill_chunk_size"])},
        target=webgpu_target(),
    )
    check_limits(shaders_of(executable))
    say(f"linking {out.name}")
    _link(executable, out, runtime, optimise)
    return out


def model_metadata(config: ModelConfig, scheme: Scheme) -> dict[str, Any]:
    """MLC's keys for a model of ours."""
    tensors = [tensor for spec in param_specs(config) for tensor in stored_tensors(spec, scheme)]
    return {
        "model_type": config.model_type,
        "quantization": scheme.name,
        "context_window_size": config.context_window_size,
        "sliding_window_size": -1,
        "attention_sink_size": -1,
        "prefill_chunk_size": config.prefill_chunk_size,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "kv_state_kind": "kv_cache",
        "max_batch_size": 1,
        "params": [
            {"name": each.name, "shape": list(each.shape), "dtype": each.dtype, "preprocs": []} for each in tensors
        ],
        "kv_cache": {
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
        },
    }


def _link(executable: tvm.relax.VMExecutable, out: Path, runtime: RuntimeObjects, optimise: int) -> None:
    def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None) -> None:
        runtime.emscripten.run(
            [f"-O{optimise}", *_LINK_FLAGS, *runtime.objects, *objects, "-o", output, *(options or ())], "linking"
        )

    # emscripten's clang is older than TVM's LLVM and cannot read its bitcode, but an object file is an object file.
    link.object_format = "o"  # type: ignore[attr-defined]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".linking-") as scratch:
        made = Path(scratch, "library.wasm")
        executable.export_library(str(made), fcompile=link, workspace_dir=scratch)
        made.replace(out)
