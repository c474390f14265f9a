"""Folders appear whole or not at all."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from recursivemas.system.atomic import atomic_folder, check_replaceable, copy_folder, scratch_folder
from recursivemas.system.errors import InputError


def write(out: Path, text: str) -> None:
    with atomic_folder(out) as folder:
        assert not (out / "new").exists()
        (folder / "new").write_text(text)


def test_atomic_folder_appears_and_replaces(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    write(out, "1")
    (out / "old").write_text("")
    with atomic_folder(out) as folder:
        (folder / "other").write_text("2")
    assert [path.name for path in out.iterdir()] == ["other"]
    assert [path.name for path in out.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_folder_leaves_nothing_when_it_fails(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "a" / "b"
    with pytest.raises(error), atomic_folder(out) as folder:
        (folder / "new").write_text("")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_atomic_folder_keeps_the_old_one_when_it_fails(tmp_path: Path) -> None:
    out = tmp_path / "b"
    write(out, "1")
    with pytest.raises(ValueError), atomic_folder(out):
        raise ValueError
    assert (out / "new").read_text() == "1"
    assert list(tmp_path.iterdir()) == [out]


def test_atomic_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    dead, alive = tmp_path / f".b.partial-{pid}", tmp_path / f".b.partial-{os.getppid()}"
    for path in (dead, alive):
        (path / "x").mkdir(parents=True)
    write(tmp_path / "b", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"b", alive.name}


def dead_process() -> int:
    """The number of a process that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_folder_that_a_killed_process_had_moved_away_comes_back(tmp_path: Path) -> None:
    pid, out = dead_process(), tmp_path / "b"
    write(out, "1")
    out.rename(tmp_path / f".b.old-{pid}")  # killed between the two renames of a replacement
    (tmp_path / f".b.partial-{pid}").mkdir()
    with pytest.raises(ValueError), atomic_folder(out):
        assert (out / "new").read_text() == "1"
        raise ValueError
    assert (out / "new").read_text() == "1"
    assert list(tmp_path.iterdir()) == [out]
    out.rename(tmp_path / f".b.old-{pid}")
    check_replaceable(out, "new", "a build")
    assert (out / "new").read_text() == "1"


def test_scratch_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    left = tmp_path / f".building-{dead_process()}-abc"
    (left / "x").mkdir(parents=True)
    with scratch_folder(tmp_path, ".building") as folder, scratch_folder(tmp_path, ".building") as other:
        assert folder.is_dir() and other.is_dir()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_file_of_the_users_own_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "b", "1")
    (tmp_path / "b" / "CNAME").write_text("example.org")
    check_replaceable(tmp_path / "b", "new", "a build")
    with pytest.raises(InputError, match="CNAME: is not part of a build and would be lost"):
        check_replaceable(tmp_path / "b", "new", "a build", {"new"}.__contains__)


def test_copy_folder_raises_the_disks_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("1")
    copy_folder(tmp_path / "a", tmp_path / "copy")
    assert (tmp_path / "copy" / "b" / "c").read_text() == "1"

    def fill(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", fill)
    with pytest.raises(OSError) as caught:
        copy_folder(tmp_path / "a", tmp_path / "other")
    assert caught.value.errno == errno.ENOSPC
