"""The documentation's versions, rehearsed on a small repository of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/docs_versions.py"


def git(folder: Path, *command: str) -> None:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.invalid"]
    subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, text: str, tag: str | None = None) -> None:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs/index.md").write_text(f"# {text}\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", text)
    if tag:
        git(folder, "tag", tag)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Four tags: one from before the site, two releases, one that names no version."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, "before the site", "v0.0.1")
    (folder / "mkdocs.yml").write_text(
        "site_name: small\nuse_directory_urls: false\ntheme: {name: mkdocs}\nplugins: []\n", encoding="utf-8"
    )
    commit(folder, "second", "v0.2.0")
    commit(folder, "tenth", "v0.10.0")
    commit(folder, "another", "vanity")
    commit(folder, "at work")
    return folder


def test_every_release_has_its_folder_and_the_menu_lists_them(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, SCRIPT, out], cwd=repository, capture_output=True, text=True, check=True, timeout=300
    )
    assert "v0.0.1: has no mkdocs.yml" in done.stdout and "vanity: names no version" in done.stdout
    for folder, heading in (("main", "at work"), ("0.10.0", "tenth"), ("0.2.0", "second")):
        assert heading in (out / folder / "index.html").read_text(encoding="utf-8")
    listed = json.loads((out / "versions.json").read_text(encoding="utf-8"))
    assert [(each["version"], each["aliases"]) for each in listed] == [
        ("main", []),
        ("0.10.0", ["latest"]),
        ("0.2.0", []),
    ]
    assert "url=0.10.0/index.html" in (out / "index.html").read_text(encoding="utf-8")
    trees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(trees.stdout.splitlines()) == 1


def test_a_version_that_cannot_be_built_stops_it(repository: Path, tmp_path: Path) -> None:
    (repository / "docs/index.md").write_text("[nowhere](missing.md)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "site"], cwd=repository, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the documentation of main could not be built: ")
    assert "missing.md" in done.stderr


def test_workflow_fetches_the_tags_and_builds_every_version() -> None:
    text = (ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    assert "fetch-depth: 0" in text and "run: make docs-versions" in text
    assert "scripts/docs_versions.py site/docs" in (ROOT / "Makefile").read_text(encoding="utf-8")
