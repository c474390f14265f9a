"""Errors of float16 libraries against PyTorch in float32, beside those of PyTorch's own float16.

It runs in Node on any WebGPU adapter of this machine with `shader-f16`: a GPU, or Mesa's llvmpipe (docs/abi.md,
Float16). The report names the adapter.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic

if TYPE_CHECKING:
    from harness.libraries import Libraries

EVIDENCE = Path("docs/evidence/bench-float16.json")
POSITIONS = 39


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-float16.json`."""
    from harness.node import NoAdapterError, open_node

    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        try:
            with open_node(Path(scratch), half=True) as (libraries, adapter):
                rows = errors(libraries, Path(scratch))
        except NoAdapterError as error:
            raise InputError(f"no WebGPU adapter with float16 here: {error}") from None
    show(Console(), adapter, rows)
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


def errors(libraries: "Libraries", files: Path) -> list[dict[str, Any]]:
    """The errors of each build.

    Args:
        libraries: On an adapter with float16.
        files: Its folder, which gets the libraries.
    """
    from harness.half_agents import BUILDS, make_half_agent
    from harness.tiny_models import relative

    rows = []
    for case, quantization in BUILDS:
        agent = make_half_agent(libraries, files, case, quantization)
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
    return rows


def show(console: Console, adapter: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the errors."""
    table = Table("model", "quantization", "error", "PyTorch's float16")
    for row in rows:
        figures = (f"{row[key]:.1e}" for key in ("error", "error_of_pytorch_float16"))
        table.add_row(str(row["model"]), str(row["quantization"]), *figures)
    console.print(f"Relative errors of hidden states on {adapter}", table)


if __name__ == "__main__":
    main()
