"""Time and peak memory from a Hugging Face checkpoint to an agent folder, at the shape of Qwen2.5-0.5B.

The checkpoint is random (seed 0), bfloat16, 494 million parameters, 151,936 tokens. If MLC-LLM is present
(`MLC_LLM_SOURCE_DIR`), its own conversion runs on the same checkpoint in the same run, and its tensors are compared
with ours bit by bit.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.weights import TENSOR_CACHE
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import SCHEMES

EVIDENCE = Path("docs/evidence/bench-convert.json")

QWEN2_5_0_5B = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}

_MLC_SCHEME = "q4f16_1"  # the scheme whose tensors MLC-LLM stores without loss


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-convert.json`."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        checkpoint = Path(scratch, "qwen2.5-0.5b-random")
        console.print("Writing a random checkpoint of Qwen2.5-0.5B's shape (1 GB)")
        write_random_checkpoint(checkpoint, QWEN2_5_0_5B, dtype="bfloat16", seed=0)
        results = {f"convert {name}": measure("convert", checkpoint, name, Path(scratch, name)) for name in SCHEMES}
        results["compile q4f16_1"] = measure("compile", checkpoint, "q4f16_1", Path(scratch, "agent"))
        comparison = None
        if os.environ.get("MLC_LLM_SOURCE_DIR"):
            theirs = Path(scratch, "mlc")
            results[f"MLC-LLM {_MLC_SCHEME}"] = measure("mlc", checkpoint, _MLC_SCHEME, theirs)
            comparison = _compare(results, Path(scratch, _MLC_SCHEME), theirs)
    _show(console, results, comparison)
    report = {
        "command": "python -m bench convert",
        "seed": 0,
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "numpy")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_the_end": os.getloadavg(),
        "results": results,
        "against_mlc_llm": comparison,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def measure(job: str, checkpoint: Path, scheme: str, out: Path) -> dict[str, Any]:
    """Runs one job of `_convert_child` in a process of its own and returns its measurements."""
    command = [sys.executable, "-m", "bench._convert_child", job, str(checkpoint), scheme, str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _compare(results: dict[str, Any], ours: Path, theirs: Path) -> dict[str, Any]:
    mine, other = results[f"convert {_MLC_SCHEME}"], results[f"MLC-LLM {_MLC_SCHEME}"]
    a, b = _digests(ours), _digests(theirs)
    return {
        "times_faster_wall": other["wall_s"] / mine["wall_s"],
        "times_faster_cpu": other["cpu_s"] / mine["cpu_s"],
        "times_less_memory": other["peak_above_imports_mib"] / mine["peak_above_imports_mib"],
        "tensors_in_both": len(a.keys() & b.keys()),
        "tensors_bit_equal": sum(a[name] == b[name] for name in a.keys() & b.keys()),
        "tensors_in_one_only": sorted(a.keys() ^ b.keys()),
    }


def _digests(folder: Path) -> dict[str, str]:
    """Sha256 of every stored tensor with its shape and dtype, by name."""
    found = {}
    for shard in json.loads((folder / TENSOR_CACHE).read_text(encoding="utf-8"))["records"]:
        data = (folder / shard["dataPath"]).read_bytes()
        for record in shard["records"]:
            piece = data[record["byteOffset"] : record["byteOffset"] + record["nbytes"]]
            key = f"{record['shape']} {record['dtype']} {hashlib.sha256(piece).hexdigest()}"
            found[record["name"]] = key
    return found


def _show(console: Console, results: dict[str, Any], comparison: dict[str, Any] | None) -> None:
    table = Table("job", "wall s", "CPU s", "peak MiB above imports", "linker peak MiB", "written MB")
    for name, result in results.items():
        columns = ("wall_s", "cpu_s", "peak_above_imports_mib", "linker_peak_mib", "written_mb")
        table.add_row(name, *(f"{result[key]:.1f}" if key in result else "" for key in columns))
    console.print(table)
    if comparison is None:
        console.print("Set MLC_LLM_SOURCE_DIR to a clone of mlc-ai/mlc-llm to compare with its conversion.")
        return
    console.print(
        f"Against MLC-LLM: {comparison['times_faster_wall']:.1f} times faster "
        f"({comparison['times_faster_cpu']:.1f} in CPU time), {comparison['times_less_memory']:.1f} times less memory; "
        f"{comparison['tensors_bit_equal']} of {comparison['tensors_in_both']} tensors bit-equal"
    )


if __name__ == "__main__":
    main()
