"""Every entry of the cache is compared with its digests before it is used; what is damaged is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.cache import damage, entries, find_entry, kind_folder, remove, seal
from recursivemas.system.errors import InputError


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed entry of two files in a cache of its own."""
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "agents" / "abc"
    (folder / "inner").mkdir(parents=True)
    (folder / "params.bin").write_bytes(bytes(range(256)) * 8)
    (folder / "inner" / "config.json").write_text("{}")
    seal(folder)
    return folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": (lambda entry: flip(entry / "params.bin"), "other bytes in params.bin"),
    "cut": (lambda entry: (entry / "params.bin").write_bytes(b"\0" * 100), "other bytes in params.bin"),
    "empty": (lambda entry: (entry / "inner/config.json").write_bytes(b""), "other bytes in inner/config.json"),
    "missing": (lambda entry: (entry / "params.bin").unlink(), "lacks params.bin"),
    "added": (lambda entry: (entry / "LICENSE").write_text("mine"), "has LICENSE that was not written with it"),
    "unfinished": (lambda entry: (entry.parent / "abc.sha256").unlink(), "has no digests"),
    "digests emptied": (lambda entry: (entry.parent / "abc.sha256").write_text(""), "not written with it"),
    "digests damaged": (lambda entry: (entry.parent / "abc.sha256").write_bytes(b"\xff\xfe"), "has no digests"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_every_kind_is_found_and_named(entry: Path, kind: str) -> None:
    assert damage(entry) is None
    harm, words = DAMAGE[kind]
    harm(entry)
    assert words in str(damage(entry))
    seal(entry)
    assert damage(entry) is None


def test_a_single_file_is_an_entry_too(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    assert damage(file) == "is missing"
    file.write_text("{}")
    seal(file)
    assert damage(file) is None
    file.write_text('{"1": "x"}')
    assert damage(file) == "has other bytes in comparison.json than were written"
    remove(file)
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_checks_and_clears(entry: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["cache", "list"]).stdout
    assert "agents/abc" in listed
    assert "1 entries, 0.0 MB" in listed
    assert run(app, ["cache", "check"]).exit_code == 0
    flip(entry / "params.bin")
    checked = run(app, ["cache", "check"])
    assert checked.exit_code == 1
    assert "agents/abc has other bytes in params.bin than were written" in checked.stdout
    assert find_entry("agents/a").path == entry
    with pytest.raises(InputError, match="no entry of the cache begins so"):
        find_entry("runtime/")
    assert "removed 1 entries" in run(app, ["cache", "clear", "--damaged"]).stdout
    assert list(entries()) == []
    assert not (tmp_path / "agents" / "abc.sha256").exists()


def test_what_killed_processes_left_is_removed_by_the_next_use(entry: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".abc.partial-{gone.pid}", f".def.old-{gone.pid}", f".building-{gone.pid}-ab_c", "x.part.json"):
        (entry.parent / name).mkdir() if name.startswith(".") else (entry.parent / name).write_text("half")
    os.utime(entry.parent / "x.part.json", (0, 0))
    ours = [f".ghi.partial-{os.getpid()}", "y.part.json", "abc.lock"]
    (entry.parent / ours[0]).mkdir()
    for name in ours[1:]:
        (entry.parent / name).touch()
    assert kind_folder("agents") == entry.parent
    assert {path.name for path in entry.parent.iterdir()} == {"abc", "abc.sha256", *ours}
    assert damage(entry) is None
