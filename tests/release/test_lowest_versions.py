"""The oldest versions that pyproject.toml allows, in an environment with nothing else: they do what the newest do."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from .environments import ROOT, answer_of_the_example, install, run, with_python

pytestmark = pytest.mark.slow

PYTHON = "3.11"
"""The oldest that pyproject.toml allows; older packages have no wheels for newer ones."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(each) for each in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"])]
TOOLS = ("pytest", "playwright", "hypothesis")
"""What the tests below import beside the program."""
TESTS = (
    "system/test_gguf.py",
    "system/test_hub.py",
    "system/test_lora.py",
    "system/test_system.py",
    "build/test_quantize.py",
    "build/test_tokenizer.py",
    "release/test_hub_upload.py",
    "release/test_sbom.py",
    "release/test_serve.py",
    "release/test_shared_links.py",
    "training/test_adapt.py",
    "training/test_evaluate.py",
    "training/test_recursion.py",
    "training/test_scoring.py",
    "cli/test_last_resort.py",
    "cli/test_tune.py",
)
"""Where the packages with the widest ranges do most."""
NOT_HERE = "tests/release/test_sbom.py::test_source_revision_is_a_commit"
"""Needs the program in a clone; here it comes from a wheel."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and the oldest version of each package that it names."""
    place = tmp_path_factory.mktemp("lowest")
    programs, wheel = with_python(PYTHON, place)
    uv = (sys.executable, "-m", "uv", "pip")
    lowest = ("--resolution", "lowest-direct", "--python-version", PYTHON)
    # torch's CUDA build brings gigabytes; requirements/torch.txt says where its CPU build comes from.
    wanted = (ROOT / "pyproject.toml", "--extra", "train", "--no-emit-package", "torch")
    run(*uv, "compile", *lowest, *wanted, "--output-file", place / "lowest.txt", cwd=ROOT)
    tools = [f"{name}=={_locked(name)}" for name in TOOLS]
    run(*uv, "install", "--python", programs / "python", "--requirement", place / "lowest.txt", *tools, cwd=ROOT)
    install(programs, "--no-deps", "--requirement", ROOT / "requirements/torch.txt", wheel)
    return programs


def _locked(name: str) -> str:
    """The version of a package in the lock file."""
    text = (ROOT / "requirements/everything.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{name}==(\S+)", text, re.MULTILINE)
    return version


def _lowest(requirement: Requirement) -> Version:
    """The lower bound of a range."""
    (version,) = (each.version for each in requirement.specifier if each.operator == ">=")
    return Version(version)


def test_lower_bounds_are_what_is_tested_here(programs: Path, tmp_path: Path) -> None:
    probe = f"from importlib.metadata import version as v; print(*map(v, {[each.name for each in RUNTIME]!r}))"
    found = run(programs / "python", "-c", probe, cwd=tmp_path).split()
    for requirement, version in zip(RUNTIME, found, strict=True):
        if requirement.name == "torch":
            continue  # docs/release.md says why
        assert Version(version).release == _release(requirement, Version(version)), requirement


def _release(requirement: Requirement, found: Version) -> tuple[int, ...]:
    """The lower bound with as many numbers as a version that was found."""
    release = _lowest(requirement).release
    return release + (0,) * (len(found.release) - len(release))


def test_three_lines_answer_with_the_oldest_packages(programs: Path, tmp_path: Path) -> None:
    assert answer_of_the_example(programs / "python", tmp_path) == "d\n"


def test_oldest_packages_compile_the_same_bytes(programs: Path, tmp_path: Path) -> None:
    command = ("compile", str(ROOT / "systems/agents/planner"), "--quantization", "q4f16_1", "--out")
    run(programs / "rmas", *command, "oldest", cwd=tmp_path)
    run(Path(sys.executable).with_name("rmas"), *command, "newest", cwd=tmp_path)
    for name in ("params_shard_0.bin", "tokenizer.json", *(path.name for path in (tmp_path / "newest").glob("*.wasm"))):
        assert (tmp_path / "oldest" / name).read_bytes() == (tmp_path / "newest" / name).read_bytes(), name


@pytest.mark.parametrize("name", TESTS)
def test_quick_tests_pass_with_the_oldest_packages(programs: Path, name: str) -> None:
    quick = ("-q", "-p", "no:cacheprovider", "-m", "not slow and not browser", "--deselect", NOT_HERE)
    run(programs / "python", "-m", "pytest", *quick, f"tests/{name}", cwd=ROOT)
