"""`rmas doctor`: what is installed, what is missing, and the command that installs it."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from packaging.requirements import Requirement
from packaging.version import Version
from rich.table import Table
from rich.text import Text

from recursivemas.cli.console import plain_console
from recursivemas.compiler.page_tokenizer import minimum_node
from recursivemas.compiler.runtime.toolchain import MINIMUM
from recursivemas.system.programs import install_command


@dataclass(frozen=True)
class Check:
    """One thing that `rmas doctor` looks at.

    Attributes:
        name: What it is called.
        found: What was found, for people.
        remedy: The command that installs it.
        ok: Whether it is there and its version fits.
        required: Whether the commands stop without it.
    """

    name: str
    found: str
    remedy: str
    ok: bool
    required: bool = True


def doctor_command() -> None:
    """Checks everything that the commands need; exits with status 1 if something required is missing."""
    checks = list(_checks())
    table = Table(box=None, pad_edge=False)
    for heading in ("", "part", "found", "how to install it"):
        table.add_column(heading)
    for check in checks:
        word, colour = ("ok", "green") if check.ok else ("missing", "red") if check.required else ("absent", "yellow")
        table.add_row(Text(word, colour), check.name, check.found, "" if check.ok else check.remedy)
    plain_console().print(table)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(1)


def _checks() -> Iterator[Check]:
    python = sys.version_info[:3]
    yield Check("Python", ".".join(map(str, python)), install_command("python"), python >= (3, 11))
    yield _program(
        "Node.js", "node", ".".join(map(str, minimum_node())), f"{install_command('node')}; compiling needs it"
    )
    yield _program("emscripten", "emcc", ".".join(map(str, MINIMUM)), install_command("emscripten"))
    yield _browser()
    clone = Path("Makefile").is_file() and Path("requirements/core.txt").is_file()
    for requirement in map(Requirement, importlib.metadata.requires("recursivemas") or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            remedy = "make setup" if clone else "pip install --upgrade recursivemas"
            yield _package(requirement, remedy, required=True)
        elif requirement.marker.evaluate({"extra": "train"}):
            remedy = "make setup" if clone else "pip install 'recursivemas[train]'"
            yield _package(requirement, f"{remedy} (needed to train and for the PyTorch reference)", required=False)
    page = Path("web/dist/index.html")
    yield Check("playground page", str(page) if page.is_file() else "not built", "make page", page.is_file(), False)


def _browser() -> Check:
    """Chromium, which only tests and benchmarks start; visitors of a page use any browser with WebGPU."""
    program, remedy = os.environ.get("CHROMIUM", "chromium"), f"{install_command('chromium')}; the tests need it"
    path = shutil.which(program)
    if path is not None and sys.platform == "win32":  # there, `chrome --version` opens a window
        return Check("chromium", path, remedy, True, False)
    return replace(_program("chromium", program, "113", remedy), required=False)


def _program(name: str, program: str, minimum: str, remedy: str) -> Check:
    """Looks for the first dotted number that a program prints about itself."""
    path = shutil.which(program)
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False) if path else None
    match = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr) if said else None
    if match is None:
        return Check(name, "not found", remedy, False)
    ok = Version(match[0]) >= Version(minimum)
    return Check(name, match[0] if ok else f"{match[0]}, older than {minimum}", remedy, ok)


def _package(requirement: Requirement, remedy: str, required: bool) -> Check:
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(requirement.name, "not installed", remedy, False, required)
    ok = requirement.specifier.contains(found, prereleases=True)
    return Check(requirement.name, found if ok else f"{found}, expected {requirement.specifier}", remedy, ok, required)
