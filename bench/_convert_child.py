"""One measured job of `bench/convert.py`, in a process of its own because of its peak memory.

`python -m bench._convert_child convert|compile|library|mlc CHECKPOINT SCHEME OUT` prints one JSON object as its last
line.
"""

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_mib() -> float:
    """Peak resident memory of this process since it was started, in MiB.

    `ru_maxrss` would not do: it begins at the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def convert(checkpoint: Path, scheme: str, out: Path) -> Callable[[], dict[str, Any]]:
    """Our conversion of the weights."""
    import recursivemas.compiler.models.llama  # noqa: F401  importing TVM is no part of the conversion
    from recursivemas.compiler.backends import prepare
    from recursivemas.compiler.checkpoint import Checkpoint
    from recursivemas.system.quantize import find_scheme

    def run() -> dict[str, Any]:
        out.mkdir(parents=True)
        prepared = prepare(Checkpoint(checkpoint), find_scheme(scheme), "relax")
        summary = prepared.write_weights(out, lambda done, total: None)
        return {"parameters": summary.parameters, "written_mb": summary.nbytes / 1e6}

    return run


def compile_(checkpoint: Path, scheme: str, out: Path) -> Callable[[], dict[str, Any]]:
    """All of `rmas compile`."""
    import recursivemas.compiler.library  # noqa: F401  the time of TVM's import does not count
    from recursivemas.compiler.agent_folder import CompileOptions, compile_agent
    from recursivemas.compiler.runtime import ensure_runtime
    from recursivemas.system.hub import resolve_model

    ensure_runtime()  # built once per machine

    def run() -> dict[str, Any]:
        agent = compile_agent(resolve_model(str(checkpoint)), out, CompileOptions(scheme, "relax"))
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return {
            "written_mb": agent.size_bytes / 1e6,
            "linker_peak_mib": children,
            "memory_bytes": agent.ours["memory_bytes"],
            "required_limits": agent.ours["required_limits"],
        }

    return run


def mlc(checkpoint: Path, scheme: str, out: Path) -> Callable[[], dict[str, Any]]:
    """MLC-LLM's own conversion of the weights on the CPU, with its loader, its kernels and TVM's writer."""
    import logging

    import tvm

    from recursivemas.compiler.pipeline import webgpu_target
    from recursivemas.mlc.importing import import_mlc
    from recursivemas.mlc.tree import mlc_module

    found = import_mlc()
    convert_weight = mlc_module("interface.convert_weight").convert_weight
    logging.disable(logging.CRITICAL)
    model_type = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["model_type"]

    def run() -> dict[str, Any]:
        with webgpu_target():  # MLC-LLM also exports its model, which needs a target
            convert_weight(
                checkpoint / "config.json",
                found.quantizations[scheme],
                found.models[model_type],
                tvm.cpu(),
                checkpoint / "model.safetensors",
                "huggingface-safetensor",
                out,
            )
        return {"version": found.version}

    return run


def library(checkpoint: Path, scheme: str, _out: Path) -> Callable[[], dict[str, Any]]:
    """A library up to linking, from the checkpoint's `config.json` alone."""
    from bench._executable import executable_of

    raw = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))

    def run() -> dict[str, Any]:
        executable_of(raw, scheme)
        return {}

    return run


JOBS = {"library": library, "convert": convert, "compile": compile_, "mlc": mlc}


def main() -> None:
    """Runs one job, whose own output goes to standard error."""
    name, checkpoint, scheme, out = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        run = JOBS[name](Path(checkpoint), scheme, Path(out))
        before = peak_mib()
        wall, cpu = time.perf_counter(), sum(os.times()[:4])
        extra = run()
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    result = {"wall_s": wall, "cpu_s": cpu, "imports_mib": before, "peak_above_imports_mib": peak_mib() - before}
    print(json.dumps(result | extra))


if __name__ == "__main__":
    main()
