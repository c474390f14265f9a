"""The wheel in an empty environment of a newer Python, installed by its ranges and without torch."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .test_wheel import ROOT, built

pytestmark = pytest.mark.slow

VERSION = "3.13"


def interpreter(version: str) -> Path | None:
    """An interpreter of that version that starts; pyenv's stand-ins may name one that is not chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, found):
        asked = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.startswith(f"Python {version}."):
            return Path(candidate)
    return None


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what its ranges bring."""
    python = interpreter(VERSION)
    if python is None:
        pytest.skip(f"there is no Python {VERSION} on this machine")
    place = tmp_path_factory.mktemp("other")
    wheel = built(ROOT, place / "wheel", "wheel")
    subprocess.run([python, "-m", "venv", place / "environment"], check=True)
    programs = place / "environment/bin"
    done = subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return programs


def run(environment: Path, *command: str, cwd: Path) -> str:
    """What a program of the environment prints, away from the clone."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [environment / command[0], *command[1:]], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_newer_python_finds_everything_but_torch(environment: Path, tmp_path: Path) -> None:
    probe = "import importlib.util, sys; print(sys.version_info[:2], importlib.util.find_spec('torch'))"
    assert run(environment, "python", "-c", probe, cwd=tmp_path).strip() == "(3, 13) None"
    assert "Python" in run(environment, "rmas", "doctor", cwd=tmp_path)


def test_newer_python_compiles_an_agent(environment: Path, tmp_path: Path) -> None:
    agent = ROOT / "systems/agents/planner"
    run(environment, "rmas", "compile", str(agent), "--quantization", "q0f32", "--out", "agent", cwd=tmp_path)
    assert list((tmp_path / "agent").glob("*.wasm")) and (tmp_path / "agent/params_shard_0.bin").is_file()
