"""The exception for mistakes of the user, and errors of disks, which are none of ours either."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ELOOP),
)


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what was expected, what came and how to mend it.

    The command line prints it without a traceback and exits with status 1. Any other exception is a bug of ours and
    keeps its traceback.
    """


def is_of_disk(error: OSError) -> bool:
    """Whether an error comes from a disk that is full, read-only or not ours, or from an impossible path."""
    return error.errno in _DISK


@contextmanager
def panics_raised() -> Iterator[None]:
    """Makes a RuntimeError of a panic in a library that is written in Rust.

    A panic is no `Exception`, so that nobody catches it, and it writes several lines to the standard error file.

    Raises:
        RuntimeError: The library panicked.
    """
    sys.stderr.flush()
    nothing, kept = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(nothing, 2)
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise RuntimeError(str(error)) from None
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)
