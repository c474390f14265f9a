"""Progress of long commands: bars in a terminal, else a line now and then on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recursivemas.system.progress import Progress as Report

SECONDS_BETWEEN_LINES = 30.0
BAR_WIDTH = 20

Start = Callable[[str], Report]
"""Called with the name of a phase; returns what its steps are reported to."""


@contextmanager
def shown_phases(bars: bool = False) -> Iterator[Start]:
    """Shows the phases of a command while it runs.

    Args:
        bars: Whether the lines that are written where there is no terminal have a bar, too, and the time that is left.
    """
    if not Console().is_terminal:
        yield _Lines(bars).start
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:

        def start(name: str) -> Report:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield start


class _Lines:
    """Writes at most one line in `SECONDS_BETWEEN_LINES`; with bars, the last one always."""

    def __init__(self, bars: bool) -> None:
        self.bars = bars
        self.began = self.last = time.monotonic()

    def start(self, name: str) -> Report:
        def report(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self.last >= SECONDS_BETWEEN_LINES or (self.bars and done == total):
                self.last = now
                spent = now - self.began
                filled = BAR_WIDTH * done // max(total, 1)
                bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] " if self.bars else ""
                left = f", {spent * (total - done) / done:.0f} s left" if self.bars and done else ""
                typer.echo(f"{name}: {bar}{done} of {total}, after {spent:.0f} s{left}", err=True)

        return report
