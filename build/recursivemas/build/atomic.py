"""A folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
