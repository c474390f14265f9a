"""The exception for mistakes of the user."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what was expected, what came and how to mend it.

    The command line prints it without a traceback and exits with status 1. Any other exception is a bug of ours and
    keeps its traceback.
    """
