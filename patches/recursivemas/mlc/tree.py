"""Where MLC-LLM's Python tree lies, and which MLC-LLM it is. Imports nothing of it, and no TVM."""

import ast
import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError

SOURCE_VARIABLE = "MLC_LLM_SOURCE_DIR"

PACKAGE = "mlc_llm"

KNOWN_TREES: dict[str, str] = {"0b6413b9d91d": "commit 79d603f0"}
"""Names of the trees that work with the pinned TVM, by the digest of their model definitions."""

KNOWN_TO_WORK = "commit 79d603f0 of 2026-07-23"

_DEFINITIONS = ("model", "nn", "op", "quantization", "loader")
"""Folders of the package that decide what a model computes."""


def find_mlc() -> Path | None:
    """Finds the package folder `mlc_llm`: in `MLC_LLM_SOURCE_DIR` if that is set, else among the installed packages.

    Returns:
        None if there is none.

    Raises:
        InputError: `MLC_LLM_SOURCE_DIR` is set but holds no MLC-LLM.
    """
    given = os.environ.get(SOURCE_VARIABLE)
    if given:
        for folder in (Path(given) / "python" / PACKAGE, Path(given) / PACKAGE, Path(given)):
            if (folder / "libinfo.py").is_file() and (folder / "model").is_dir():
                return folder.resolve()
        raise InputError(
            f"{SOURCE_VARIABLE}={given}: no MLC-LLM source tree there (python/{PACKAGE}/model is missing); "
            "give the folder of a clone of mlc-ai/mlc-llm"
        )
    return next((place for place in _installed() if (place / "model").is_dir()), None)


def _installed() -> Iterator[Path]:
    """Folders of an installed package.

    `importlib.util.find_spec` would find the bare package that `import_mlc` puts in its place instead.
    """
    for finder in sys.meta_path:
        spec = finder.find_spec(PACKAGE, None)
        yield from (Path(place).resolve() for place in (spec.submodule_search_locations or [] if spec else []))


def describe(root: Path) -> str:
    """Says which MLC-LLM lies in a folder: its version, and its commit or a digest of its model definitions."""
    version = _declared_version(root)
    digest = tree_digest(root)
    return f"{version}, {KNOWN_TREES.get(digest) or _commit(root) or 'unknown commit'}, definitions {digest}"


def tree_digest(root: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 over the files that define models."""
    digest = hashlib.sha256()
    for folder in _DEFINITIONS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _declared_version(root: Path) -> str:
    path = root / "libinfo.py"
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, UnicodeDecodeError):
        return "unreadable version"
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if "__version__" in names:
                return str(node.value.value)
    return "no version"


def _commit(root: Path) -> str | None:
    for parent in root.parents:
        head = parent / ".git" / "HEAD"
        if not head.is_file():
            continue
        text = head.read_text().strip()
        if text.startswith("ref: "):
            ref = parent / ".git" / text.removeprefix("ref: ")
            text = ref.read_text().strip() if ref.is_file() else ""
        return f"commit {text[:8]}" if text else None
    return None


def mlc_module(name: str) -> Any:
    """Imports one of MLC-LLM's modules, e.g. `nn.kv_cache`; only valid after or inside `import_mlc`."""
    return importlib.import_module(f"{PACKAGE}.{name}")
