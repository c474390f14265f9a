"""The console of every command."""

from rich.console import Console


def plain_console(stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints texts as they are: neither `[bold]` nor `:smile:` in an answer or a path means anything.

    Args:
        stderr: Whether it writes to standard error.
        soft_wrap: Whether long lines are left to the terminal.
    """
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)
