"""Writes folders whole or not at all, and cleans up after processes that were killed."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recursivemas.system.errors import InputError, is_of_disk

_TEMPORARY_FOLDER = re.compile(r"\..*-(\d{1,9})(?:-\w+)?")
_TEMPORARY_FILE = re.compile(r".+\.part(?:\.\w+)?")
_ABANDONED_SECONDS = 3600


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder beside `out`, which replaces `out` if the block succeeds.

    On any exception, Ctrl-C included, the new folder is removed and `out` stays as it was. Folders that killed
    processes left behind are removed too; if such a process had just moved `out` away, it is moved back first.

    Args:
        out: The folder to write; an existing one is replaced.

    Yields:
        The folder to fill.
    """
    out = out.absolute()
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    _recover(out)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            old = out.with_name(f".{out.name}.old-{os.getpid()}")
            out.replace(old)
            try:
                partial.replace(out)
            except BaseException:
                old.replace(out)
                raise
            shutil.rmtree(old)
        else:
            partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # another program has put something into it
                parent.rmdir()
        raise


@contextmanager
def scratch_folder(parent: Path, kind: str) -> Iterator[Path]:
    """Yields an empty folder for temporary files, which is removed at the end.

    Folders that killed processes left there under the same name are removed at the beginning.

    Args:
        parent: Where to make it.
        kind: The beginning of its name; the number of this process follows.
    """
    _remove_abandoned(parent, f"{kind}-")
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{kind}-{os.getpid()}-") as folder:
        yield Path(folder)


def remove_leftovers(parent: Path) -> None:
    """Removes temporary files and folders that killed processes left in a folder of the program's own.

    A folder is left over if the process that its name numbers runs no more, a file of `atomic_file` if nobody has
    written to it for an hour.
    """
    for path in parent.iterdir() if parent.is_dir() else ():
        with suppress(OSError):  # another process may be doing the same
            if match := _TEMPORARY_FOLDER.fullmatch(path.name):
                if not _runs(int(match[1])):
                    shutil.rmtree(path, ignore_errors=True)
            elif _TEMPORARY_FILE.fullmatch(path.name) and time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def check_replaceable(out: Path, mark: str, kind: str, belongs: Callable[[str], bool] = lambda name: True) -> None:
    """Refuses to replace a folder that is neither empty nor an earlier artifact, or that has other files in it.

    Args:
        out: The folder to write.
        mark: Path of a file that every such artifact has, relative to it.
        kind: The name of such an artifact, with its article.
        belongs: Whether a file, by its path relative to `out`, is part of the artifact.

    Raises:
        InputError: `out` is another folder, or a file, or has a file that would be lost.
    """
    _recover(out.absolute())
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is a file; --out must be a folder, new or {kind}")
    if out.exists() and any(out.iterdir()) and not (out / mark).is_file():
        raise InputError(f"{out}: exists and is not {kind} (no {mark}); choose another --out")
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())
    if foreign := next((name for name in names if not belongs(name)), None):
        raise InputError(
            f"{out / foreign}: is not part of {kind} and would be lost when the folder is replaced; move it elsewhere, "
            "or choose another --out"
        )


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Like `atomic_folder`, with a one-line error for the user if the folder cannot be written.

    Raises:
        InputError: The disk is full or not writable; `out` stays as it was.
    """
    try:
        with atomic_folder(out) as folder:
            yield folder
    except OSError as error:
        if is_of_disk(error):
            raise InputError(f"{out}: cannot be written: {error.strerror}; nothing was left behind") from None
        raise


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder to a new path. Unlike `shutil.copytree`, it stops at the first error and raises it."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_folder(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def _recover(out: Path) -> None:
    """Undoes a replacement in which a process was killed, and removes what it left."""
    if not out.exists():
        for earlier in _abandoned(out.parent, f".{out.name}.old-"):
            earlier.replace(out)
            break
    for kind in ("partial", "old"):
        _remove_abandoned(out.parent, f".{out.name}.{kind}-")


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for path in _abandoned(parent, prefix):
        shutil.rmtree(path, ignore_errors=True)


def _abandoned(parent: Path, prefix: str) -> list[Path]:
    """Folders `<prefix><process number>…` whose process runs no more."""
    found = [path for path in parent.iterdir() if path.name.startswith(prefix)] if parent.is_dir() else []
    owners = {path: path.name.removeprefix(prefix).partition("-")[0] for path in found}
    return [path for path, owner in owners.items() if owner.isdigit() and not _runs(int(owner))]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
