"""Progress of long commands: bars in a terminal, else a line now and then on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recursivemas.system.progress import Progress as Report

SECONDS_BETWEEN_LINES = 30.0

Start = Callable[[str], Report]
"""Called with the name of a phase; returns what its steps are reported to."""


@contextmanager
def shown_phases() -> Iterator[Start]:
    """Shows the phases of a command while it runs."""
    if not Console().is_terminal:
        yield _Lines().start
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:

        def start(name: str) -> Report:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield start


class _Lines:
    """Writes at most one line in `SECONDS_BETWEEN_LINES`."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def start(self, name: str) -> Report:
        def report(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self.last >= SECONDS_BETWEEN_LINES:
                self.last = now
                typer.echo(f"{name}: {done} of {total}, after {now - self.began:.0f} s", err=True)

        return report
