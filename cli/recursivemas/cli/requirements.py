"""What `rmas doctor` looks at: each check says what it found and which command mends it."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recursivemas.compiler.runtime.toolchain import MINIMUM

MINIMUM_NODE = (20, 0, 0)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        ok: Whether it is there and new enough.
        found: What was found, for people.
        remedy: The command that mends it.
        required: Whether anything stops without it.
    """

    name: str
    ok: bool
    found: str
    remedy: str
    required: bool = True


def program_version(program: str, *arguments: str) -> tuple[int, ...] | None:
    """The first dotted number a program prints about itself; None when it is not there."""
    path = shutil.which(program)
    if path is None:
        return None
    result = subprocess.run([path, *(arguments or ("--version",))], capture_output=True, text=True, check=False)
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", result.stdout + result.stderr)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def _program(name: str, program: str, minimum: tuple[int, ...], remedy: str) -> Check:
    version = program_version(program)
    if version is None:
        return Check(name, False, "not found", remedy)
    wanted = ".".join(map(str, minimum))
    found = ".".join(map(str, version))
    return Check(name, version >= minimum, found if version >= minimum else f"{found}, older than {wanted}", remedy)


def _packages(requirements: Iterable[str], remedy: str, required: bool) -> Iterator[Check]:
    for requirement in requirements:
        match = re.match(r"([\w.-]+)==([^;\s]+)", requirement)
        if match is None:
            continue
        name, wanted = match.groups()
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "not installed", remedy, required)
            continue
        same = found.split("+")[0] == wanted
        yield Check(name, same, found if same else f"{found}, tested with {wanted}", remedy, required)


def run_checks() -> list[Check]:
    """Runs every check, in the order in which people install things."""
    python = sys.version_info[:3]
    checks = [
        Check("Python", python >= (3, 11), ".".join(map(str, python)), "install Python 3.11 or newer"),
        _program("Node.js", "node", MINIMUM_NODE, "install Node.js 20 or newer (nodejs.org)"),
        _program("emscripten", "emcc", MINIMUM, "sudo apt-get install emscripten"),
        _program("chromium", os.environ.get("CHROMIUM", "chromium"), (113, 0, 0), "sudo apt-get install chromium"),
    ]
    requirements = importlib.metadata.requires("recursivemas") or []
    core = [each for each in requirements if "extra ==" not in each]
    train = [each for each in requirements if "extra == 'train'" in each or 'extra == "train"' in each]
    checks += _packages(core, "make setup", required=True)
    checks += _packages(train, "make setup (needed to train and for the PyTorch reference)", required=False)
    page = Path("web/dist/index.html")
    checks.append(
        Check("playground page", page.is_file(), str(page) if page.is_file() else "not built", "make page", False)
    )
    return checks
