"""Writes folders whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recursivemas.system.errors import InputError

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder beside `out`, which replaces `out` if the block succeeds.

    On any exception, Ctrl-C included, the new folder is removed and `out` stays as it was. Folders that killed
    processes left behind are removed too.

    Args:
        out: The folder to write; an existing one is replaced.

    Yields:
        The folder to fill.
    """
    out = out.absolute()
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out)
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


def check_replaceable(out: Path, mark: str, kind: str) -> None:
    """Refuses to replace a folder that is neither empty nor an earlier artifact.

    Args:
        out: The folder to write.
        mark: Path of a file that every such artifact has, relative to it.
        kind: The name of such an artifact, with its article.

    Raises:
        InputError: `out` is another folder, or a file.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is a file; --out must be a folder, new or {kind}")
    if out.exists() and any(out.iterdir()) and not (out / mark).is_file():
        raise InputError(f"{out}: exists and is not {kind} (no {mark}); choose another --out")


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
        if error.errno in _UNWRITABLE:
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


def _remove_abandoned(out: Path) -> None:
    for kind in ("partial", "old"):
        for path in out.parent.glob(f".{out.name}.{kind}-*"):
            owner = path.name.rsplit("-", 1)[1]
            if owner.isdigit() and not _runs(int(owner)):
                shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
