"""Stamps: a digest of everything that goes into an artifact, so that a second build can be skipped.

A stamp is of this machine (it uses file sizes and modification times of large inputs); it is kept beside artifacts,
never in them.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import recursivemas.build
import recursivemas.system
from recursivemas.system.files import write_text_atomic


@cache
def program_digest() -> str:
    """Sha256 over this program's own sources and the versions that decide what it writes."""
    digest = hashlib.sha256()
    for package in (recursivemas.build, recursivemas.system):
        for root in package.__path__:
            for path in sorted(Path(root).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for name in ("apache-tvm", "apache-tvm-ffi", "numpy", "tokenizers"):
        digest.update(f"{name}=={importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()


def files_listing(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Absolute path, size in bytes and modification time in ns of every file in files and folders, sorted."""
    found: set[Path] = set()
    for path in paths:
        found.update(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else found.add(path)
    return [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(found)]


def stamp_of(paths: Iterable[Path], **options: Any) -> str:
    """A digest of input files, options and this program."""
    content = json.dumps([files_listing(paths), options, program_digest()], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def stamp_file(artifact: Path) -> Path:
    """Where an artifact's stamp is kept."""
    artifact = artifact.absolute()  # "." has a name only then
    return artifact.with_name(f".{artifact.name}.stamp")


def read_stamp(artifact: Path) -> str | None:
    """The stamp an artifact was made with; None when it has none."""
    path = stamp_file(artifact)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def write_stamp(artifact: Path, stamp: str) -> None:
    """Records what an artifact was made from; call it after the artifact is in place."""
    write_text_atomic(stamp_file(artifact), stamp + "\n")
