"""`rmas cache`: lists, checks and clears what this program keeps to save work."""

from typing import Annotated

import typer

from recursivemas.system.cache import KINDS, Entry, cache_folder, damage, entries, find_entry, remove
from recursivemas.system.errors import InputError

cache_command = typer.Typer(no_args_is_help=True, help="List, check and clear what this program keeps to save work.")

_Names = Annotated[
    list[str] | None,
    typer.Argument(help="Entries, by the beginning of their names in `rmas cache list`. Default: all."),
]


@cache_command.command("list")
def list_command() -> None:
    """Lists every entry with its size."""
    found = list(entries())
    for kind, meaning in KINDS.items():
        of_kind = [entry for entry in found if entry.kind == kind]
        if of_kind:
            typer.echo(f"{meaning}:")
        for entry in of_kind:
            typer.echo(f"{entry.size_bytes / 1e6:10.1f} MB  {_name(entry)}")
    total = sum(entry.size_bytes for entry in found)
    typer.echo(f"{cache_folder()}: {len(found)} entries, {total / 1e6:.1f} MB")


@cache_command.command("check")
def check_command(names: _Names = None) -> None:
    """Compares every file with the sha256 that was written when it was made; status 1 if one differs.

    The commands do this by themselves before they use an entry, and make a damaged one again.
    """
    chosen = _chosen(names)
    wrong = 0
    for entry in chosen:
        if (why := damage(entry.path)) is not None:
            wrong += 1
            typer.echo(f"{_name(entry)} {why}")
    typer.echo(f"{len(chosen)} entries, {wrong} damaged")
    if wrong:
        raise typer.Exit(1)


@cache_command.command("clear")
def clear_command(
    names: _Names = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Only those that `rmas cache check` complains of.")
    ] = False,
) -> None:
    """Removes entries. Whatever is needed again is made or downloaded again."""
    chosen = [entry for entry in _chosen(names) if not damaged or damage(entry.path) is not None]
    for entry in chosen:
        try:
            remove(entry.path)
        except OSError as error:
            raise InputError(f"{entry.path}: cannot be removed: {error.strerror}") from None
    typer.echo(f"removed {len(chosen)} entries, {sum(entry.size_bytes for entry in chosen) / 1e6:.1f} MB")


def _name(entry: Entry) -> str:
    return f"{entry.kind}/{entry.path.name}"


def _chosen(names: list[str] | None) -> list[Entry]:
    return [find_entry(name) for name in names] if names else list(entries())
