"""Gzip for what compresses well: libraries, scripts, tokenizers. Quantized weights do not.

Every file has one compressed form: the same bytes in give the same bytes out.
"""

import gzip
from functools import lru_cache
from pathlib import Path

COMPRESSIBLE = frozenset((".wasm", ".js", ".css", ".html", ".json", ".svg", ".txt"))
_LEVEL = 9


def compressible(path: Path) -> bool:
    """Whether a file is worth compressing, by its name."""
    return path.suffix in COMPRESSIBLE


@lru_cache(maxsize=64)
def compressed(path: Path, modified_ns: int) -> bytes:
    """A file's gzip form, kept for the next time.

    Args:
        path: The file.
        modified_ns: Its modification time: a rewritten file is compressed again.
    """
    return gzip.compress(path.read_bytes(), _LEVEL, mtime=0)


def precompress(folder: Path) -> list[Path]:
    """Writes `<file>.gz` beside every compressible file of a site, for hosts that serve such files as they are.

    Returns:
        What was written.
    """
    written = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and compressible(path):
            target = path.with_name(f"{path.name}.gz")
            target.write_bytes(gzip.compress(path.read_bytes(), _LEVEL, mtime=0))
            written.append(target)
    return written
