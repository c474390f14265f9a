"""Sizes of the libraries of the paper's three agents: as they are, with gzip and with brotli, and what fills them.

The libraries are compiled for their real shapes, without weights. Every library holds the runtime, whose code is the
same in each. Beside the sizes are those of the build before kernels stopped repeating the checks of their callers and
equal functions were merged.
"""

import gzip
import importlib.metadata
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import brotli
from rich.console import Console
from rich.table import Table

from bench.real_size import MODELS
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.models import load_model_config
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import find_scheme

EVIDENCE = Path("docs/evidence/bench-sizes.json")
SCHEME = "q4f16_1"
EARLIER = {"Qwen3-1.7B": {"bytes": 7_270_000, "gzip": 915_000, "brotli": 516_000}}
"""Version 0.1.0's, rounded to thousands."""

_CODE, _DATA = 10, 11


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-sizes.json`."""
    console = Console()
    results = {}
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        for name, config in MODELS.items():
            console.print(f"compiling {name}")
            out = Path(scratch, f"{name}.wasm")
            results[name] = sizes(compile_library(load_model_config(config), find_scheme(SCHEME), out).read_bytes())
    table = Table("library", *next(iter(results.values())), "0.1.0, gzip", title=f"bytes, {SCHEME}")
    for name, row in results.items():
        before = EARLIER.get(name, {}).get("gzip")
        table.add_row(name, *(f"{value:,}" for value in row.values()), "" if before is None else f"{before:,}")
    console.print(table)
    report = {
        "command": "python -m bench sizes",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "brotli")},
        "earlier": EARLIER,
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def sizes(library: bytes) -> dict[str, int]:
    """Bytes of a library in each form, and of its code and data with gzip."""
    found = dict(sections(library))
    return {
        "bytes": len(library),
        "gzip": len(gzip.compress(library, 9, mtime=0)),
        "brotli": len(brotli.compress(library, quality=11, lgwin=24)),
        "code, gzip": len(gzip.compress(found[_CODE], 9, mtime=0)),
        "data, gzip": len(gzip.compress(found[_DATA], 9, mtime=0)),
    }


def sections(library: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each section of WebAssembly.

    Source: https://webassembly.github.io/spec/core/binary/modules.html
    """
    at = 8
    while at < len(library):
        kind, length, shift, at = library[at], 0, 0, at + 1
        while True:
            byte, at = library[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield kind, library[at : at + length]
        at += length


if __name__ == "__main__":
    main()
