"""The shapes of the published systems' larger agents: converting and compiling each, in float16 and 4 bits.

The configurations are those of the checkpoints' text models. Random weights (seed 0) of those that fit the disk are
converted, one model at a time; of the others the library alone is compiled. Dawn, Chrome's WebGPU, compiles every
shader. The numbers that the libraries compute are not checked here.

`python -m bench.released_sizes Qwen3.5-2B …` measures these and keeps what the report says of the others.
"""

import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench._convert_child import peak_mib
from bench.convert import measure
from bench.real_size import check_shaders
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.library_metadata import read_library_metadata
from recursivemas.compiler.model_facts import relax_facts
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import weights_nbytes
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import find_scheme

EVIDENCE = Path("docs/evidence/bench-released-sizes.json")
SCHEME = "q4f16_1"
CHECKPOINT_BYTES_PER_WEIGHT = 2
"""Random checkpoints are in bfloat16."""

_QWEN3_5: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "architectures": ["Qwen3_5ForCausalLM"],
    "hidden_act": "silu",
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_section": [11, 11, 10],
        "mrope_interleaved": True,
    },
}
MODELS: dict[str, dict[str, Any]] = {
    "Qwen3.5-2B": {
        **_QWEN3_5,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "linear_num_value_heads": 16,
        "tie_word_embeddings": True,
    },
    "Qwen3.5-4B": {
        **_QWEN3_5,
        "hidden_size": 2560,
        "intermediate_size": 9216,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 32,
        "tie_word_embeddings": True,
    },
    "Qwen3.5-9B": {
        **_QWEN3_5,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 32,
        "tie_word_embeddings": False,
    },
    "Gemma3-4B": {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window": 1024,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
    "BioMistral-7B": {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    },
    "Qwen2.5-Coder-3B": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
}


def main(names: Sequence[str] = ()) -> None:
    """Prints the table and writes `docs/evidence/bench-released-sizes.json`, after each model.

    Args:
        names: Models to measure; all by default.
    """
    console = Console()
    results: dict[str, Any] = json.loads(EVIDENCE.read_text("utf-8"))["results"] if EVIDENCE.is_file() else {}
    for name in names or MODELS:
        config = MODELS[name]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(_compile, config).result()
        needed = CHECKPOINT_BYTES_PER_WEIGHT * results[name]["weights"] + results[name]["weights_bytes"]
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if needed > 0.8 * free:
            console.print(f"{name}: its weights need {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free; left out")
        else:
            console.print(f"{name}: writing random weights, {needed / 1e9:.0f} GB with the agent made of them")
            with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
                checkpoint, out = Path(scratch, name), Path(scratch, "agent")
                write_random_checkpoint(checkpoint, config, dtype="bfloat16", seed=0, shards=2)
                results[name]["with_weights"] = measure("compile", checkpoint, SCHEME, out)
                shutil.rmtree(out)
        results[name] |= check_shaders(config, SCHEME)
        results = {each: results[each] for each in MODELS if each in results}
        _write(results)
    _show(console, results)
    console.print(f"written to {EVIDENCE}")


def _write(results: dict[str, Any]) -> None:
    report = {
        "command": "python -m bench released_sizes",
        "seed": 0,
        "scheme": SCHEME,
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "numpy")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_the_end": os.getloadavg(),
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")


def _compile(raw: dict[str, Any]) -> dict[str, Any]:
    """Compiles a library without weights; runs in a process of its own."""
    config, scheme, start = load_model_config(raw), find_scheme(SCHEME), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        library = compile_library(config, scheme, Path(scratch, "library.wasm"))
        metadata, size = read_library_metadata(library), library.stat().st_size
    facts, temporary = relax_facts(config, scheme), max(metadata["memory_usage"].values())
    specs = param_specs(config)
    weights = weights_nbytes(specs, scheme)
    return {
        "weights": sum(math.prod(shape) for spec in specs for shape in spec.source_shapes),
        "wall_s": time.perf_counter() - start,
        "peak_mib": peak_mib(),
        "linker_peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "library_bytes": size,
        "weights_bytes": weights,
        "kv_cache_bytes": facts.kv_cache_bytes,
        "recurrent_state_bytes": facts.recurrent_state_bytes,
        "temporary_bytes": temporary,
        "memory_bytes": weights + facts.kv_cache_bytes + facts.recurrent_state_bytes + temporary,
        "required_limits": metadata["recursivemas"]["required_limits"],
    }


def _show(console: Console, results: dict[str, Any]) -> None:
    table = Table("model", "wall s", "peak MiB", "weights MB", "KV cache MB", "state MB", "GPU MB", "largest buffer MB")
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['wall_s']:.0f}",
            f"{max(result['peak_mib'], result['linker_peak_mib']):.0f}",
            *(
                f"{result[key] / 1e6:.0f}"
                for key in ("weights_bytes", "kv_cache_bytes", "recurrent_state_bytes", "memory_bytes")
            ),
            f"{result['required_limits']['maxStorageBufferBindingSize'] / 1e6:.0f}",
        )
    console.print(table)
    refused = sum(result["shaders_that_dawn_refuses"] for result in results.values())
    console.print(
        f"{sum(result['shaders'] for result in results.values())} shaders compiled with Dawn, {refused} refused"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
