"""Finds MLC-LLM's Python tree and imports what defines models, without its native library and without touching a file.

Departures from importing `mlc_llm`: its `__init__.py` is not run (it starts the serving engine, which needs the native
library), so a bare package object stands in for it; no byte code is written into the tree.
"""

import ast
import hashlib
import importlib
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError

SOURCE_VARIABLE = "MLC_LLM_SOURCE_DIR"

PACKAGE = "mlc_llm"

KNOWN_TREES: dict[str, str] = {"0b6413b9d91d": "commit 79d603f0"}
"""Digest of a tree's model definitions -> what it is. These were seen to work with the pinned TVM."""

KNOWN_TO_WORK = "commit 79d603f0 of 2026-07-23"

_DEFINITIONS = ("model", "nn", "op", "quantization", "loader")
"""Folders of the package that decide what is computed."""


@dataclass(frozen=True)
class Mlc:
    """An imported MLC-LLM.

    Attributes:
        root: Its package folder `mlc_llm`.
        version: What was seen, in words.
        models: Its registry, by architecture name.
        quantizations: Its quantization schemes by name.
    """

    root: Path
    version: str
    models: dict[str, Any]
    quantizations: dict[str, Any]


def find_mlc() -> Path | None:
    """The package folder `mlc_llm`, or None if there is none.

    Raises:
        InputError: `MLC_LLM_SOURCE_DIR` is set and no MLC-LLM is there.
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
    """Folders of an installed package. `importlib.util.find_spec` would stumble over the bare package that
    `import_mlc` puts in its place."""
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
    """One of MLC-LLM's modules, e.g. `nn.kv_cache`; `import_mlc` must have run."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def import_mlc() -> Mlc:
    """Imports MLC-LLM's model definitions and bridges what has drifted from the pinned TVM.

    Returns:
        Its registry. A second call returns the same modules.

    Raises:
        InputError: There is no MLC-LLM, or it cannot be bridged.
    """
    root = find_mlc()
    if root is None:
        raise InputError(
            f"MLC-LLM is neither installed nor named by {SOURCE_VARIABLE}; clone mlc-ai/mlc-llm ({KNOWN_TO_WORK} is "
            f"known to work) and set {SOURCE_VARIABLE} to the clone (nothing has to be compiled)"
        )
    from recursivemas.mlc import compat  # compat reads mlc_module from here

    try:
        with _importing(root):
            for bridge in compat.BEFORE_IMPORT:
                bridge.apply()
            models = mlc_module("model.model").MODELS
            quantizations = mlc_module("quantization.quantization").QUANTIZATION
            mlc_module("loader")
            for bridge in compat.AFTER_IMPORT:
                bridge.apply()
        if not isinstance(models, dict) or not models:
            raise TypeError("its registry MODELS is empty")
    except InputError:
        raise
    except Exception as error:  # Whatever a version we do not know does on import.
        _forget()
        raise unusable(root, "be used", error) from error
    return Mlc(root, describe(root), models, quantizations)


def unusable(root: Path, doing: str, error: Exception) -> InputError:
    """What to raise when MLC-LLM is not as we know it: the version seen, what went wrong, the version that works."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return InputError(
        f"MLC-LLM at {root} ({describe(root)}) cannot {doing} with TVM {_tvm_version()}: {reason}; known to work: "
        f"{KNOWN_TO_WORK}"
    )


@contextmanager
def _importing(root: Path) -> Iterator[None]:
    """A bare package object in place of `mlc_llm/__init__.py`, no native library, no byte code."""
    loaded = sys.modules.get(PACKAGE)
    if loaded is None or Path(str(next(iter(loaded.__path__)))).resolve() != root:
        _forget()
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(root)]
        sys.modules[PACKAGE] = package
    byte_code, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    skip = os.environ.get("SKIP_LOADING_MLCLLM_SO")
    os.environ["SKIP_LOADING_MLCLLM_SO"] = "1"
    try:
        yield
    finally:
        sys.dont_write_bytecode = byte_code
        if skip is None:
            del os.environ["SKIP_LOADING_MLCLLM_SO"]
        else:
            os.environ["SKIP_LOADING_MLCLLM_SO"] = skip


def _forget() -> None:
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def _tvm_version() -> str:
    import tvm

    return str(tvm.__version__)
