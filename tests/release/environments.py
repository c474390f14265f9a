"""Fresh environments for the wheel, and programs that run in them away from the clone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a program without the variables that tell Python where to look; returns what it printed.

    Raises:
        AssertionError: It ended with an error.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def built(source: Path, out: Path, kind: str) -> Path:
    """What hatchling makes of a source tree: a `wheel` or an `sdist`."""
    run(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", out, cwd=source)
    (found,) = out.iterdir()
    return found


def empty_environment(folder: Path, python: Path = Path(sys.executable)) -> Path:
    """An environment with nothing in it, not even pip; returns the folder of its programs."""
    run(python, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    return folder / "bin"


def install(programs: Path, *arguments: str | Path) -> None:
    """Installs into an environment, with the pip of the one that runs."""
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    run(*pip, "install", "--quiet", *arguments, cwd=ROOT)


def copy_web(target: Path) -> None:
    """Copies the sources of the page and the engine, without what is installed or built."""

    def ignore(folder: str, _: list[str]) -> set[str]:
        return {"node_modules", "lib", "dist"} if Path(folder) == ROOT / "web" else set()

    shutil.copytree(ROOT / "web", target, ignore=ignore)


def answer_of_the_example(python: Path, folder: Path, systems: Path = ROOT / "systems") -> str:
    """What the three lines of docs/python.md print with an interpreter.

    Args:
        python: The interpreter.
        folder: Where they run; it gets a link to the systems.
        systems: The folder with the systems.
    """
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    (folder / "systems").symlink_to(systems)
    return run(python, "-c", example, cwd=folder)


def with_python(version: str, place: Path) -> tuple[Path, Path]:
    """An empty environment of another Python, as its folder of programs, and the wheel, which is not installed yet.

    The test is skipped where there is no such Python.
    """
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return empty_environment(place / "environment", python), built(ROOT, place / "wheel", "wheel")


def _interpreter(version: str) -> Path | None:
    """An interpreter of that version that starts; pyenv's stand-ins may name one that is not chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, found):
        asked = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.startswith(f"Python {version}."):
            return Path(candidate)
    return None
