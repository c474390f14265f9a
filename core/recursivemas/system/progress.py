"""Callbacks that tell how far a long piece of work is."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Called with one line before each step."""

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is in all."""


def silent(_: str) -> None:
    """Says nothing: the default of functions that take a `Say`."""


def unseen(_done: int, _total: int) -> None:
    """Shows nothing: the default of functions that take a `Progress`."""
