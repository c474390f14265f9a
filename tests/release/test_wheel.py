"""The wheel and the source distribution: whole, and enough to run `rmas` where no clone is."""

import re
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from .environments import ROOT, built, empty_environment, install, run

SOURCES = tuple(f"{root}/recursivemas" for root in ("core", "training", "build", "patches", "cli"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def ours(wheel: Path) -> dict[str, bytes]:
    """The wheel's files by name, its own metadata aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of a fresh environment with the wheel; its dependencies are borrowed from the one that runs."""
    folder = tmp_path_factory.mktemp("fresh")
    programs = empty_environment(folder)
    install(programs, "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    # A .pth file adds the folder only: the .pth of an editable install in it is not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs / "python"


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = {}
    for source in SOURCES:
        for path in (ROOT / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected[path.relative_to((ROOT / source).parent).as_posix()] = path.read_bytes()
    assert ours(wheel) == expected
    assert {Path(name).suffix for name in expected} >= {".py", ".h", ".cc", ".json", ".typed"}
    assert sum(name.endswith("/py.typed") for name in expected) == 9


def test_wheel_is_the_same_bytes_twice(wheel: Path, tmp_path: Path) -> None:
    assert built(ROOT, tmp_path, "wheel").read_bytes() == wheel.read_bytes()


def test_wheel_of_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    sdist = built(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert (source / "systems/hop-sequential.yaml").is_file()
    assert (source / "LICENSE").is_file()
    assert ours(built(source, tmp_path / "wheel", "wheel")) == ours(wheel)


def test_every_command_of_the_installed_wheel_has_help(python: Path, tmp_path: Path) -> None:
    rmas = python.with_name("rmas")
    listed = re.findall(r"^  ([a-z]+)  ", run(rmas, "--help", cwd=tmp_path), re.MULTILINE)
    assert {"doctor", "train", "compile", "build", "run", "eval", "serve", "links", "publish"} <= set(listed)
    helps = "; ".join(f"'{rmas}' {name} --help >/dev/null" for name in listed)
    run("bash", "-ec", helps, cwd=tmp_path)


def test_installed_wheel_finds_its_own_data(python: Path, tmp_path: Path) -> None:
    script = (
        "import recursivemas.compiler, recursivemas.training, recursivemas.mlc, recursivemas.architectures\n"
        "from recursivemas.compiler.runtime.sources import OURS, find_sources\n"
        "print(find_sources().digest(), OURS)\n"
    )
    digest, headers = run(python, "-c", script, cwd=tmp_path).split()
    assert Path(headers).is_relative_to(python.parents[1])
    assert digest == run(sys.executable, "-c", script, cwd=tmp_path).split()[0]
    assert "Recorded with mlc-llm" in run(python.with_name("rmas"), "architectures", cwd=tmp_path)


def test_builder_is_pinned_once_for_users_and_for_the_tests() -> None:
    assert PROJECT["build-system"]["requires"][0] in PROJECT["project"]["optional-dependencies"]["dev"]
