"""Imports MLC-LLM's model definitions without its native library and without changing its tree.

Deviations from importing `mlc_llm`: its `__init__.py` does not run, because it starts the serving engine, which needs
the native library; a bare package object takes its place. No byte code is written into the tree.
"""

import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from recursivemas.mlc import compat
from recursivemas.mlc.tree import KNOWN_TO_WORK, PACKAGE, SOURCE_VARIABLE, describe, find_mlc, mlc_module
from recursivemas.system.errors import InputError


@dataclass(frozen=True)
class Mlc:
    """An imported MLC-LLM.

    Attributes:
        root: Its package folder `mlc_llm`.
        version: Its version and commit, in words.
        models: Its registry, by architecture name.
        quantizations: Its quantization schemes by name.
    """

    root: Path
    version: str
    models: dict[str, Any]
    quantizations: dict[str, Any]


def import_mlc() -> Mlc:
    """Imports MLC-LLM's model definitions and bridges their differences from the pinned TVM.

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
    except Exception as error:  # An unknown version may raise anything on import.
        _forget()
        raise unusable(root, "be used", error) from error
    return Mlc(root, describe(root), models, quantizations)


def unusable(root: Path, doing: str, error: Exception) -> InputError:
    """The error for an MLC-LLM that does not work: its version, what went wrong, and the version that works."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return InputError(
        f"MLC-LLM at {root} ({describe(root)}) cannot {doing} with TVM {tvm.__version__}: {reason}; known to work: "
        f"{KNOWN_TO_WORK}"
    )


@contextmanager
def _importing(root: Path) -> Iterator[None]:
    """Inside, `mlc_llm` is a bare package object, its native library is not loaded, and no byte code is written."""
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
