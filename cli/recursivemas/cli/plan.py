"""`rmas plan`: what a release has to build."""

import json
from pathlib import Path
from typing import Annotated

import typer

from recursivemas.cli.options import QUANTIZATION_NAMES
from recursivemas.release.release_plan import RELEASED, check_tag, plan_release


def plan_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SYSTEM]...", help="Names of systems. Default: all that have links.")
    ] = None,
    quantization: Annotated[
        str, typer.Option("--quantization", "-q", help=f"{QUANTIZATION_NAMES}, or both for {' and '.join(RELEASED)}.")
    ] = "both",
    systems: Annotated[Path, typer.Option(help="Folder with <name>.yaml and links/.")] = Path("systems"),
    tag: Annotated[str | None, typer.Option(help="Check that this tag, if it is not empty, fits the version.")] = None,
) -> None:
    """Prints two lines, agents=JSON and systems=JSON: the matrices of the release workflow."""
    if tag:
        check_tag(tag)
    schemes = RELEASED if quantization == "both" else (quantization,)
    plan = plan_release(systems, [name for name in names or [] if name != "all"], schemes)
    typer.echo(f"agents={json.dumps(plan.agents)}")
    typer.echo(f"systems={json.dumps(plan.systems)}")
