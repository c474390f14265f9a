"""A folder that appears whole or not at all."""

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
    """Hands out an empty folder beside `out` that takes its place when the block ends well.

    On any exception, Ctrl-C included, the new folder is removed and `out` is as it was. What an earlier process left
    when it was killed is removed too.

    Args:
        out: Where the folder shall appear; an existing one is replaced.

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
            with suppress(OSError):  # something else is in it by now
                parent.rmdir()
        raise


def check_replaceable(out: Path, mark: str, kind: str) -> None:
    """Refuses to replace anything but an empty folder or an earlier artifact.

    Args:
        out: Where a new one shall appear.
        mark: A file that every such artifact has, relative to it.
        kind: What such an artifact is called, with its article.

    Raises:
        InputError: `out` is something else, or a file is in the way.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is a file; --out must be a folder, new or {kind}")
    if out.exists() and any(out.iterdir()) and not (out / mark).is_file():
        raise InputError(f"{out}: exists and is not {kind} (no {mark}); choose another --out")


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """`atomic_folder` for what a user asked for: a disk that is full or closed to writing is told in one line.

    Raises:
        InputError: It is; `out` is then as it was.
    """
    try:
        with atomic_folder(out) as folder:
            yield folder
    except OSError as error:
        if error.errno in _UNWRITABLE:
            raise InputError(f"{out}: cannot be written: {error.strerror}; nothing was left behind") from None
        raise


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder to where there is none; unlike `shutil.copytree` it ends at the first error, and raises that."""
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
