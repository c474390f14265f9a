"""Gzip for files that compress well: libraries, scripts and tokenizers, but not quantized weights.

The same bytes always give the same compressed bytes.
"""

import gzip
from functools import lru_cache
from pathlib import Path

COMPRESSIBLE = frozenset((".wasm", ".js", ".css", ".html", ".json", ".svg", ".txt"))
_LEVEL = 9


def compressible(path: Path) -> bool:
    """Whether a file is worth compressing, judged by its suffix."""
    return path.suffix in COMPRESSIBLE


@lru_cache(maxsize=64)
def compressed(path: Path, modified_ns: int) -> bytes:
    """The gzip form of a file, cached.

    Args:
        path: The file.
        modified_ns: Its modification time, so that a rewritten file is compressed again.
    """
    return gzip.compress(path.read_bytes(), _LEVEL, mtime=0)


def precompress(folder: Path) -> list[Path]:
    """Writes `<file>.gz` beside every compressible file of a site, for hosts that serve such files.

    Returns:
        The files that were written.
    """
    written = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and compressible(path):
            target = path.with_name(f"{path.name}.gz")
            target.write_bytes(compressed(path, path.stat().st_mtime_ns))
            written.append(target)
    return written
