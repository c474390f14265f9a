"""The shapes of the published systems' Qwen3.5 agents: compiling a library of each, in float16 and 4 bits.

The configurations are those of the checkpoints' text models. The smallest is also converted, from random weights (seed
0); the others' weights would fill a disk, so their libraries alone are compiled, each in a process of its own. Dawn,
Chrome's WebGPU, compiles every shader. The numbers that the libraries compute are not checked here.
"""

import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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
WITH_WEIGHTS = ("Qwen3.5-2B",)

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
}


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-released-sizes.json`."""
    console = Console()
    results: dict[str, Any] = {}
    for name, config in MODELS.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(_compile, config).result()
        if name in WITH_WEIGHTS:
            console.print(f"Writing a random checkpoint of {name}'s shape")
            with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
                checkpoint, out = Path(scratch, name), Path(scratch, "agent")
                write_random_checkpoint(checkpoint, config, dtype="bfloat16", seed=0, shards=2)
                results[name]["with_weights"] = measure("compile", checkpoint, SCHEME, out)
                shutil.rmtree(out)
        results[name] |= check_shaders(config, SCHEME)
    _show(console, results)
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
    console.print(f"written to {EVIDENCE}")


def _compile(raw: dict[str, Any]) -> dict[str, Any]:
    """Compiles a library without weights; runs in a process of its own."""
    config, scheme, start = load_model_config(raw), find_scheme(SCHEME), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        library = compile_library(config, scheme, Path(scratch, "library.wasm"))
        metadata, size = read_library_metadata(library), library.stat().st_size
    facts, temporary = relax_facts(config, scheme), max(metadata["memory_usage"].values())
    weights = weights_nbytes(param_specs(config), scheme)
    return {
        "wall_s": time.perf_counter() - start,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
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
    main()
