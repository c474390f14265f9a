"""`rmas site`: the page and built systems in one folder."""

from pathlib import Path
from typing import Annotated

import typer

from recursivemas.release.site import assemble_site


def site_command(
    systems: Annotated[list[Path], typer.Argument(help="Built systems, or folders of built systems.")],
    out: Annotated[Path, typer.Option(help="The site's folder; it must be new, empty or an earlier site.")],
    page: Annotated[Path, typer.Option(help="The built page, which 'make page' makes.")] = Path("web/dist"),
    gzip: Annotated[
        bool, typer.Option("--gzip", help="Also write <file>.gz beside files that compress, for hosts that serve them.")
    ] = False,
) -> None:
    """Puts the playground and built systems into one folder that any static host can serve, from any sub-path."""
    names = assemble_site(page, systems, out, gzip=gzip)
    typer.echo(f"{out}: the playground with {', '.join(names)}")
