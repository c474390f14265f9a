"""`rmas doctor`: what is installed, what is missing, and the command that mends it."""

import typer
from rich.console import Console
from rich.table import Table

from recursivemas.cli.requirements import run_checks


def doctor_command() -> None:
    """Checks everything that the commands need; exits with status 1 when something required is missing."""
    checks = run_checks()
    table = Table(box=None, pad_edge=False)
    for heading in ("", "part", "found", "to mend it"):
        table.add_column(heading)
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[red]missing[/]" if check.required else "[yellow]absent[/]"
        table.add_row(mark, check.name, check.found, "" if check.ok else check.remedy)
    Console().print(table)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(1)
