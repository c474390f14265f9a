"""The exception for mistakes of the user, and errors of disks, which are none of ours either."""

import errno

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
