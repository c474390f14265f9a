"""The engine as an npm package: built, packed, and installed into projects of tests."""

import json
import subprocess
from pathlib import Path

from harness.engine_page import WEB


def in_folder(*command: str, folder: Path = WEB, env: dict[str, str] | None = None) -> str:
    """Runs a command; its output is in the error if it fails.

    Args:
        command: The words.
        folder: Where it runs.
        env: The whole environment, if it is another one.

    Returns:
        What it prints.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pack_engine(folder: Path) -> Path:
    """Builds the engine and packs it as `npm publish` would; returns the package."""
    folder.mkdir(parents=True, exist_ok=True)
    in_folder("npm", "run", "--silent", "build:lib")
    packed = json.loads(in_folder("npm", "pack", "./lib", "--json", "--pack-destination", str(folder)))
    return folder / str(packed[0]["filename"])


def install_engine(package: Path, project: Path) -> Path:
    """Installs the package into a project without asking any registry: it has no dependencies; returns its folder."""
    in_folder("npm", "install", "--offline", "--no-audit", "--no-fund", "--no-save", str(package), folder=project)
    return project / "node_modules/recursivemas"
