"""Stamps: a digest of everything that goes into an artifact, so that a second build can be skipped.

A stamp is only valid on this machine, because it holds sizes and modification times of large input files. It is kept
beside its artifact, never inside.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import recursivemas.compiler
import recursivemas.system
from recursivemas.compiler.backends import installed_backends
from recursivemas.compiler.runtime import runtime_key
from recursivemas.system.files import write_text_atomic


@cache
def program_digest() -> str:
    """Sha256 over this program's own sources and the versions that decide what it writes."""
    digest = hashlib.sha256(sources_digest(recursivemas.compiler, recursivemas.system).encode())
    for name in ("apache-tvm", "apache-tvm-ffi", "numpy", "tokenizers", "transformers"):
        digest.update(f"{name}=={importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()


def compiler(backends: Iterable[str]) -> dict[str, str | None]:
    """What else decides how agents come out: the browser runtime, and what each backend names.

    Args:
        backends: Those that agents are compiled with.

    Returns:
        For `stamp_of`.

    Raises:
        InputError: Emscripten, the runtime's sources or the MLC-LLM that was named cannot be used.
    """
    key: dict[str, str | None] = {"runtime": runtime_key()}
    installed = installed_backends()
    for name in sorted(set(backends) & installed.keys()):
        key |= installed[name].stamp_inputs()
    return key


def sources_digest(*packages: ModuleType) -> str:
    """Sha256 over the names and contents of every file in the packages."""
    digest = hashlib.sha256()
    for root in (root for package in packages for root in package.__path__):
        for path in sorted(Path(root).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
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
    """The file that keeps an artifact's stamp."""
    artifact = artifact.absolute()  # "." has no name of its own
    return artifact.with_name(f".{artifact.name}.stamp")


def read_stamp(artifact: Path) -> str | None:
    """The stamp an artifact was made with; None if there is none."""
    path = stamp_file(artifact)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def write_stamp(artifact: Path, stamp: str) -> None:
    """Records what an artifact was made from; call it after the artifact is in place."""
    write_text_atomic(stamp_file(artifact), stamp + "\n")
