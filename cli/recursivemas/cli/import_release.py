"""`rmas import-release`: a system from a user's own copy of the paper's code."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from recursivemas.system.errors import InputError
from recursivemas.system.released_settings import Style


def import_release_command(
    checkout: Annotated[Path, typer.Argument(help="A copy of the repository with the paper's inference code.")],
    style: Annotated[Style, typer.Option(help="Which of the paper's systems.")],
    out: Annotated[Path, typer.Option(help="The system file to write; its name is the system's.")],
    task: Annotated[
        str, typer.Option(help="What is asked: math, choice or code, or a data set such as gpqa or livecodebench.")
    ] = "math",
    agents: Annotated[
        list[str] | None, typer.Option(help="ROLE=FOLDER of a checkpoint on this machine. May be repeated.")
    ] = None,
    outer: Annotated[Path | None, typer.Option(help="Folder of the outer links on this machine.")] = None,
    date: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day that chat templates print. Default: today."),
    ] = None,
) -> None:
    """Writes a system with the prompts and settings of a copy of the paper's code.

    It runs functions from that copy: those that write prompts, and the runner up to where it would load models, in a
    process of its own without network or third-party packages.
    """
    from recursivemas.system.import_release import import_release
    from recursivemas.system.released_code import code_folder

    folders = dict(_pair(each) for each in agents or [])
    code_folder(checkout)  # nothing runs if it is no copy
    typer.echo(f"running code from {checkout}: the functions that write its prompts and settings")
    system = import_release(checkout, style, task, out, folders, outer, None if date is None else date.date())
    typer.echo(
        f"{out}: {len(system.agents)} agents, {system.rounds} rounds, {system.latent_steps} latent steps; "
        f"next: rmas links convert {out} --out {out.parent / 'links' / out.stem}.recursivelink.json"
    )


def _pair(text: str) -> tuple[str, Path]:
    role, equals, folder = text.partition("=")
    if not equals or not role or not folder:
        raise InputError(f"--agents {text!r}: expected ROLE=FOLDER")
    return role, Path(folder)
