"""The one exception that a user's mistake becomes."""


class InputError(ValueError):
    """Input that cannot be used, in one line: what was expected, what came, how to mend it.

    The command line prints it without a traceback and exits with status 1. Anything else that is raised is a bug of
    ours and keeps its traceback.
    """
