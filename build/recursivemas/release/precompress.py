"""Gzip and brotli for files that compress well: libraries, scripts and tokenizers, but not quantized weights.

The same bytes always give the same compressed bytes.
"""

import gzip
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import brotli

from recursivemas.system.progress import Say, silent

COMPRESSIBLE = frozenset((".wasm", ".js", ".css", ".html", ".json", ".svg", ".txt"))
ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""What hosts call an encoding, the best first, and how a file ends that has it."""


def _encoded(data: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.compress(data, 9, mtime=0)
    packed: bytes = brotli.compress(data, quality=11, lgwin=24)
    return packed


def compressible(path: Path) -> bool:
    """Whether a file is worth compressing, judged by its suffix."""
    return path.suffix in COMPRESSIBLE


def beside(path: Path, encoding: str) -> Path:
    """Where the compressed form of a file lies."""
    return path.with_name(path.name + ENCODINGS[encoding])


@lru_cache(maxsize=64)
def zipped(path: Path, modified_ns: int) -> bytes:
    """The gzip form of a file, cached.

    Args:
        path: The file.
        modified_ns: Its modification time, so that a rewritten file is compressed again.
    """
    return _encoded(path.read_bytes(), "gzip")


def ready(path: Path, encoding: str) -> bytes | None:
    """The compressed form that lies beside a file, unless the file was written later."""
    form = beside(path, encoding)
    if not form.is_file() or form.stat().st_mtime_ns < path.stat().st_mtime_ns:
        return None
    return form.read_bytes()


def precompress(folder: Path, encodings: Iterable[str] = ENCODINGS, say: Say = silent) -> list[Path]:
    """Writes `<file>.gz` and `<file>.br` beside every compressible file of a site, for hosts that serve such files.

    Equal files, such as a library that several systems use, are compressed once.

    Args:
        folder: The site.
        encodings: Some of `ENCODINGS`.
        say: Called with one line for each library, which takes brotli several seconds.

    Returns:
        The files that were written.
    """
    written = []
    made: dict[tuple[str, bytes], bytes] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not compressible(path):
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if path.suffix == ".wasm" and not any(known == digest for _, known in made):
            say(f"compressing {path.relative_to(folder)}")
        for encoding in encodings:
            if (encoding, digest) not in made:
                made[encoding, digest] = _encoded(data, encoding)
            beside(path, encoding).write_bytes(made[encoding, digest])
            written.append(beside(path, encoding))
    return written
