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
    brotli: Annotated[
        bool, typer.Option("--brotli", help="Also write <file>.br beside them, which takes seconds for each library.")
    ] = False,
) -> None:
    """Puts the playground and built systems into one folder that any static host can serve, from any sub-path."""
    encodings = [name for name, wanted in (("gzip", gzip), ("br", brotli)) if wanted]
    names = assemble_site(page, systems, out, encodings=encodings, say=typer.echo)
    typer.echo(f"{out}: the playground with {', '.join(names)}")
