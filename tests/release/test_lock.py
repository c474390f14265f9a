"""The lock files in requirements/: exact, hashed, whole, and within the ranges of pyproject.toml."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = ROOT / "requirements/core.txt"
EVERYTHING = ROOT / "requirements/everything.txt"
TORCH = ROOT / "requirements/torch.txt"
OUTSIDE = {"torch"}
"""Not in the lock files; the reason is in requirements/torch.txt."""


def entries(path: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """Requirement and hashes by normalised name."""
    found = {}
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.split("#")[0].strip())
        if requirement:
            parsed = Requirement(requirement)
            found[canonicalize_name(parsed.name)] = (parsed, hashes)
    return found


def version(requirement: Requirement) -> str:
    """The only version that a requirement allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


@pytest.mark.parametrize("path", [CORE, EVERYTHING], ids=lambda path: path.name)
def test_every_package_has_one_version_and_hashes(path: Path) -> None:
    for name, (requirement, hashes) in entries(path).items():
        assert version(requirement)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|index|find-links|^/", text, re.MULTILINE), "a place is named"
    assert not re.search(r"^(torch|nvidia|triton)", text, re.MULTILINE), "torch's CUDA build is locked"


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        (CORE, PROJECT["dependencies"]),
        (EVERYTHING, [*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["dev"], *EXTRAS["docs"]]),
    ],
    ids=["core", "everything"],
)
def test_lock_has_every_declared_package_in_its_range(path: Path, declared: list[str]) -> None:
    locked = entries(path) | entries(TORCH)
    for requirement in map(Requirement, declared):
        (exact, _) = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version(exact)), requirement


def test_lock_is_closed_under_what_packages_need() -> None:
    for path in (CORE, EVERYTHING):
        locked = entries(path)
        for name, (exact, _) in locked.items():
            if exact.marker is not None and not exact.marker.evaluate():
                continue
            for needed in map(Requirement, importlib.metadata.requires(name) or []):
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    key = canonicalize_name(needed.name)
                    assert key in OUTSIDE or needed.specifier.contains(version(locked[key][0])), f"{name}: {needed}"


def test_playground_and_development_have_the_same_versions() -> None:
    everything = {name: version(each) for name, (each, _) in entries(EVERYTHING).items()}
    core = {name: version(each) for name, (each, _) in entries(CORE).items()}
    assert core.items() <= everything.items()
    assert not {"torch", "accelerate", "pytest"} & core.keys()


def test_environment_is_what_the_lock_says() -> None:
    for name, (exact, _) in (entries(EVERYTHING) | entries(TORCH)).items():
        if exact.marker is None or exact.marker.evaluate():
            assert importlib.metadata.version(name).split("+")[0] == version(exact), f"{name}; run `make setup`"


def test_published_metadata_has_ranges() -> None:
    declared = [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
    assert not [each for each in declared if "==" in each]
    assert all(any(part.operator == ">=" for part in Requirement(each).specifier) for each in declared)
