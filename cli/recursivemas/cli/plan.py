"""`rmas plan`: what a release has to build."""

import json
from pathlib import Path
from typing import Annotated

import typer

from recursivemas.release.release_plan import QUANTIZATIONS, check_tag, plan_release


def plan_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SYSTEM]...", help="Names; all that have links when left out.")
    ] = None,
    quantization: Annotated[
        str, typer.Option("--quantization", "-q", help="A scheme, or both: q4f16_1 and q4f32_1.")
    ] = "both",
    systems: Annotated[Path, typer.Option(help="Folder with <name>.yaml and links/.")] = Path("systems"),
    tag: Annotated[str | None, typer.Option(help="Check that this tag, if any, fits the version.")] = None,
) -> None:
    """Prints two lines, agents=JSON and systems=JSON: the matrices of the release workflow."""
    if tag:
        check_tag(tag)
    schemes = QUANTIZATIONS if quantization == "both" else (quantization,)
    plan = plan_release(systems, [name for name in names or [] if name != "all"], schemes)
    typer.echo(f"agents={json.dumps(plan.agents)}")
    typer.echo(f"systems={json.dumps(plan.systems)}")
