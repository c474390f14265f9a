"""`scripts/system-packages.sh` on machines that lack something; programs are stand-ins that say their version."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recursivemas.compiler.page_tokenizer import minimum_node

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/system-packages.sh"
TOOLS = ("bash", "dirname", "sed", "mktemp", "tail", "rm", "env", "cat")
"""What the script itself is written with."""

FULL = {"node": "echo v20.19.0", "npm": "echo 10", "emcc": "echo 3.1.6", "chromium": "echo 156", "id": "echo 0"}
APT = 'echo "$@" >> "$APT_LOG"'


class Machine:
    """A PATH with stand-ins only."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log = folder / "bin", folder / "apt.log"
        self.bin.mkdir()
        for tool in TOOLS:
            found = next(path for place in ("/bin", "/usr/bin") if (path := Path(place) / tool).exists())
            (self.bin / tool).symlink_to(found)
        for name, does in {**FULL, "apt-get": APT}.items():
            self.put(name, does)

    def put(self, name: str, does: str) -> None:
        """Installs a stand-in."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{does}\n")
        path.chmod(0o755)

    def remove(self, *names: str) -> None:
        """Takes stand-ins away."""
        for name in names:
            (self.bin / name).unlink()

    def run(self, **environment: str) -> tuple[int, str]:
        """Status and what was said."""
        variables = {"PATH": str(self.bin), "PYTHON": sys.executable, "APT_LOG": str(self.log), "CI": "true"}
        result = subprocess.run(
            ["/bin/bash", str(SCRIPT)],
            env={**variables, "TMPDIR": str(self.bin.parent), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout + result.stderr

    def installed(self) -> list[str]:
        """Calls of the package manager."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_said_or_installed_where_all_is_there(machine: Machine) -> None:
    assert machine.run() == (0, "")
    assert machine.installed() == []


def test_root_installs_what_is_missing_and_asks_nothing(machine: Machine) -> None:
    machine.remove("emcc", "chromium")
    code, said = machine.run()
    assert (code, said) == (0, "Installing Debian packages: emscripten chromium\n")
    assert machine.installed() == ["update", "install -y --no-install-recommends emscripten chromium"]


def test_another_browser_may_be_named(machine: Machine, tmp_path: Path) -> None:
    machine.remove("chromium")
    assert machine.run(CHROMIUM="/bin/true")[0] == 0
    assert machine.installed() == []


def test_user_with_sudo_that_asks_nothing_installs(machine: Machine) -> None:
    machine.put("id", "echo 1000")
    machine.put("sudo", 'if [ "$1" = -n ]; then shift; fi\n[ "$1" = true ] || exec "$@"')
    machine.remove("emcc")
    assert machine.run()[0] == 0
    assert machine.installed() == ["update", "install -y --no-install-recommends emscripten"]


def test_user_who_may_not_install_is_told_the_command(machine: Machine) -> None:
    machine.put("id", "echo 1000")
    machine.remove("emcc", "chromium")
    code, said = machine.run()
    assert code == 1
    command = "sudo apt-get update && sudo apt-get install emscripten chromium"
    assert said == f"Missing: emscripten chromium. Install with: {command}\n"
    assert machine.installed() == []


def test_homebrew_installs_where_there_is_no_apt(machine: Machine) -> None:
    machine.remove("apt-get", "emcc")
    machine.put("brew", APT)
    assert machine.run()[0] == 0
    assert machine.installed() == ["install --quiet emscripten"]
    machine.remove("chromium")
    code, said = machine.run()
    assert code == 1 and "brew install --cask google-chrome" in said and "export CHROMIUM=" in said


def test_failed_installation_shows_why(machine: Machine) -> None:
    machine.remove("emcc")
    machine.put("apt-get", 'echo "E: Unable to locate package emscripten" >&2; exit 100')
    code, said = machine.run()
    assert code == 1
    assert "E: Unable to locate package emscripten" in said and "Could not install: emscripten" in said


@pytest.mark.parametrize(
    ("name", "does", "said"),
    [
        ("node", "echo v18.20.4", "Node.js 20.19 or newer is needed; found: v18.20.4"),
        ("node", "echo v20.18.1", "Node.js 20.19 or newer is needed; found: v20.18.1"),
        ("node", "exit 127", "Node.js 20.19 or newer is needed; found: none"),
        (
            "python-old",
            "[ $1 = --version ] && echo Python 3.10.2 || exit 1",
            "Python 3.11 or newer is needed; found: Python 3.10.2",
        ),
    ],
    ids=["old Node.js", "Node.js a little too old", "no Node.js", "old Python"],
)
def test_what_the_package_manager_cannot_mend_is_one_line(machine: Machine, name: str, does: str, said: str) -> None:
    machine.put(name, does)
    environment = {"PYTHON": str(machine.bin / name)} if name.startswith("python") else {}
    code, came = machine.run(**environment)
    assert code == 1
    assert came.startswith(said) and came.count("\n") == 1


@pytest.mark.parametrize("version", ["v20.19.0", "v22.1.0", "v100.0.0"])
def test_newer_node_will_do(machine: Machine, version: str) -> None:
    machine.put("node", f"echo {version}")
    assert machine.run() == (0, "")


def test_compiling_and_its_document_ask_for_the_same_node() -> None:
    wanted = ".".join(map(str, minimum_node()))
    engines = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))["engines"]
    assert engines["node"] == f">={wanted}"
    document = (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8")
    assert f"Node {wanted} or newer must be on the `PATH`" in " ".join(document.split())


def test_node_without_npm_is_told_apart(machine: Machine) -> None:
    machine.remove("npm")
    code, said = machine.run()
    assert (code, said.split(".")[0]) == (1, "npm is needed beside Node")


def test_ci_runs_the_readmes_test_command() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
