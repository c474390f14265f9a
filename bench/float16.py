"""Errors of float16 libraries against PyTorch in float32, beside those of PyTorch's own float16.

It runs in Node on any WebGPU adapter of this machine with `shader-f16`: a GPU, or Mesa's llvmpipe (docs/abi.md,
Float16). The report names the adapter.
"""

import importlib.metadata
import json
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic

EVIDENCE = Path("docs/evidence/bench-float16.json")
POSITIONS = 39


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-float16.json`."""
    from harness.half_agents import BUILDS, make_half_agent
    from harness.node import NoAdapterError, open_node
    from harness.tiny_models import relative

    rows = []
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        try:
            with open_node(Path(scratch)) as (libraries, adapter):
                for case, quantization in BUILDS:
                    agent = make_half_agent(libraries, Path(scratch), case, quantization)
                    size = agent.library.metadata["recursivemas"]["hidden_size"]
                    embed = np.random.default_rng(0).normal(size=(1, POSITIONS, size)).astype(np.float16)
                    hidden = agent.library.kv_cache().forward("get_last_hidden", embed, agent.params)
                    expected = agent.hidden_states(embed)
                    rows.append(
                        {
                            "model": case.name,
                            "quantization": quantization,
                            "error": relative(hidden.astype(np.float32), expected),
                            "error_of_pytorch_float16": relative(agent.hidden_states(embed, half=True), expected),
                        }
                    )
                    agent.library.unload()
        except NoAdapterError as error:
            raise InputError(f"no WebGPU adapter with float16 here: {error}") from None
    table = Table("model", "quantization", "error", "PyTorch's float16")
    for row in rows:
        errors = (f"{row[key]:.1e}" for key in ("error", "error_of_pytorch_float16"))
        table.add_row(str(row["model"]), str(row["quantization"]), *errors)
    Console().print(f"Relative errors of hidden states on {adapter}", table)
    report = {
        "command": "python -m bench float16",
        "seed": "of each case in harness/tiny_models.py",
        "adapter": adapter,
        "positions": POSITIONS,
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "torch")},
        "results": rows,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    Console().print(f"written to {EVIDENCE}")


if __name__ == "__main__":
    main()
