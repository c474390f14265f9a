"""The documents: their commands run, their links lead somewhere, their tables are true."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from recursivemas.cli.app import app
from recursivemas.system.manifest import Manifest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^```(console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    """For a test's title."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, kind: str) -> list[str]:
    """Fenced blocks of a kind."""
    return [text for found, text in BLOCK.findall(path.read_text(encoding="utf-8")) if found == kind]


def commands(path: Path) -> list[str]:
    """Commands of the `console` blocks: lines that begin with a dollar sign, in order."""
    lines = "\n".join(blocks(path, "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def files(path: Path) -> dict[str, str]:
    """Files that a document tells to write: blocks whose first line is a comment with the file's name."""
    found = re.findall(
        r"^```\w+\n(# (\S+/\S+\.\w+)\n.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return {name: text for text, name in found}


WITH_COMMANDS = [path for path in DOCUMENTS if commands(path)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place that looks like a clone after `make setup`; what commands write does not reach the real one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in (".venv", "docs", "Makefile", "scripts", "pyproject.toml", "web", "build", "training"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "systems").mkdir()  # a real folder: documents say what to write there
    for path in (ROOT / "systems").iterdir():
        (folder / "systems" / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_commands_of_console_blocks_run(path: Path, clone: Path) -> None:
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for name, text in files(path).items():
        (clone / name).write_text(text, encoding="utf-8")
    for command in commands(path):
        if command.startswith("make "):  # the tests themselves, or a server that stays: only what it would do
            command = command.split("#")[0].replace("make ", "make --dry-run ")
        result = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=ROOT if command.startswith("make ") else clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def test_documents_have_commands_that_run() -> None:
    assert len(WITH_COMMANDS) >= 3
    assert list(files(ROOT / "README.md")) == ["systems/mine.yaml"]
    assert any("publish" in command and "--dry-run" in command for path in WITH_COMMANDS for command in commands(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_rmas_command_and_make_target_exists(path: Path) -> None:
    """Of the blocks that are not run too: those that need a network, a secret or an hour."""
    group = typer.main.get_command(app)
    lines = "\n".join(blocks(path, "bash") + blocks(path, "console")).replace("\\\n", " ").splitlines()
    for call in re.findall(r"(?:^|&& |\$ |=… )rmas ([^&|#\n]*)", "\n".join(lines), re.MULTILINE):
        name, *arguments = shlex.split(call)
        if name == "--help":
            continue
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        assert command is not None, f"rmas {name}"
        if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
            command = command.commands[arguments[0]]
        known = {"--help"} | {option for parameter in command.params for option in parameter.opts}
        assert {each.split("=")[0] for each in arguments if each.startswith("--")} <= known, call
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines:
        for call in re.findall(r"(?:^|&& |\$ )make ([\w -]+)", line):
            assert set(call.split()) <= targets, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


def test_readme_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for path in DOCUMENTS if (name := name_of(path)) != "README.md" and f"]({name})" not in text]
    assert missing == []


def test_manifest_table_names_every_key() -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    section = text[text.index("### `system.json`") : text.index("### `recursivelink.json`")]
    for name, field in Manifest.model_fields.items():
        assert f"`{field.alias or name}`" in section, name


def test_changelog_has_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version.group(1)}" in (ROOT / "CHANGELOG.md").read_text()
