"""The paper's Sequential-Light trio at its real size: checkpoint to agent folder, in float16 and in float32.

Weights are random (seed 0) in the shapes of the three checkpoints' `config.json`; `rmas compile` does the rest, each
time in a process of its own. Beside time and memory, the report has the largest buffer that a page allocates, to
compare with what every WebGPU device and what desktop browsers offer. Dawn, Chrome's WebGPU, compiles every shader of
these shapes (web/tools/wgsl.mjs). The numbers that a float16 library computes are not checked: that needs a GPU.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench._executable import executable_of
from bench.convert import measure
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.shaders import shaders_of
from recursivemas.compiler.wgsl import refused_by_dawn
from recursivemas.system.files import write_text_atomic

EVIDENCE = Path("docs/evidence/bench-real-size.json")
SCHEMES = ("q4f16_1", "q4f32_1")

# What WebGPU promises on every device, in bytes; desktop browsers offer up to 2 GiB, or more if the GPU has it.
PROMISED = {"maxStorageBufferBindingSize": 128 << 20, "maxBufferSize": 256 << 20}

_COMMON = {"hidden_act": "silu", "tie_word_embeddings": True}
MODELS: dict[str, dict[str, Any]] = {
    "Qwen3-1.7B": {
        **_COMMON,
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
    },
    "Llama-3.2-1B": {
        **_COMMON,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "Qwen2.5-Math-1.5B": {
        **_COMMON,
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    },
}


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-real-size.json`."""
    console = Console()
    results: dict[str, Any] = {}
    for name, config in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
            checkpoint = Path(scratch, name)
            console.print(f"Writing a random checkpoint of {name}'s shape")
            write_random_checkpoint(checkpoint, config, dtype="bfloat16", seed=0, shards=2)
            for scheme in SCHEMES:
                out = Path(scratch, scheme)
                result = measure("compile", checkpoint, scheme, out)
                shutil.rmtree(out)
                results[f"{name} {scheme}"] = result | check_shaders(config, scheme)
    _show(console, results)
    report = {
        "command": "python -m bench real_size",
        "seed": 0,
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "numpy")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_the_end": os.getloadavg(),
        "promised_by_every_device": PROMISED,
        "numerics_of_float16": "not yet run on a graphics card; tiny models on a software one: bench-float16.json",
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def check_shaders(raw: Mapping[str, Any], quantization: str) -> dict[str, int]:
    """The number of shaders, and how many of them Dawn refuses."""
    shaders = shaders_of(executable_of(raw, quantization).mod)
    return {"shaders": len(shaders), "shaders_that_dawn_refuses": len(refused_by_dawn(shaders))}


def _show(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(
        "agent", "wall s", "CPU s", "peak MiB", "linker peak MiB", "written MB", "largest buffer MB", "GPU MB"
    )
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['wall_s']:.1f}",
            f"{result['cpu_s']:.1f}",
            f"{result['imports_mib'] + result['peak_above_imports_mib']:.0f}",
            f"{result['linker_peak_mib']:.0f}",
            f"{result['written_mb']:.0f}",
            f"{result['required_limits']['maxStorageBufferBindingSize'] / 1e6:.1f}",
            f"{result['memory_bytes'] / 1e6:.0f}",
        )
    console.print(table)
    refused = sum(result["shaders_that_dawn_refuses"] for result in results.values())
    console.print(
        f"{sum(result['shaders'] for result in results.values())} shaders compiled with Dawn, {refused} refused"
    )


if __name__ == "__main__":
    main()
