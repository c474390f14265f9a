"""Fixtures: the real MLC-LLM if it is available, and a made-up tree that looks like it."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from recursivemas.mlc.importing import Mlc, import_mlc
from recursivemas.mlc.tree import PACKAGE, SOURCE_VARIABLE, find_mlc

FILES = {
    "__init__.py": "raise ImportError('the native library is missing')",
    "libinfo.py": "__version__ = '9.9.test'",
    "loader/__init__.py": "",
    "model/__init__.py": "",
    "model/model.py": """
        from .gpt_j import gpt_j_model
        MODELS = {"llama": type("Model", (), {"model_task": "chat", "source": {}})()}
    """,
    "model/gpt_j/__init__.py": "",
    "model/gpt_j/gpt_j_model.py": "",
    "nn/__init__.py": "",
    "nn/kv_cache.py": """
        from tvm import relax as rx
        class PagedKVCache:
            kind: rx.StringImm
            @staticmethod
            def create_generic(**arguments):
                return rx.DataTypeImm(arguments["dtype"])
    """,
    "op/__init__.py": "",
    "op/moe_misc.py": "from tvm import te\nfrom tvm.relax.frontend.nn import op",
    "quantization/__init__.py": "",
    "quantization/quantization.py": "QUANTIZATION = {}",
}


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    """Writes a source tree with `python/mlc_llm` in it; returns the folder."""
    for name, text in files.items():
        path = folder / "python" / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Restores the imported modules of `mlc_llm` after a test."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == PACKAGE}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def fake_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_modules: None) -> Path:
    """Makes a tree that `import_mlc` finds."""
    folder = write_tree(tmp_path / "source", FILES)
    monkeypatch.setenv(SOURCE_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def mlc() -> Mlc:
    """The real MLC-LLM."""
    if find_mlc() is None:
        pytest.skip(f"MLC-LLM is neither installed nor named by {SOURCE_VARIABLE}")
    return import_mlc()
