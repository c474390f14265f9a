"""`rmas serve`: the playground and built systems on localhost."""

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from recursivemas.build.serve import site_app


def serve_command(
    folder: Annotated[Path, typer.Argument(help="A built system, a folder of built systems, or a site.")] = Path(
        "dist"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    page: Annotated[Path, typer.Option(help="The built page (npm run build makes it).")] = Path("web/dist"),
) -> None:
    """Serves on 127.0.0.1 with byte ranges, entity tags, the right types, CORS for the artifacts and a strict CSP."""
    server = uvicorn.Server(uvicorn.Config(site_app(page, folder), host="127.0.0.1", port=port, log_level="warning"))
    with server.config.bind_socket() as listening:
        typer.echo(f"Playground: http://127.0.0.1:{listening.getsockname()[1]}/ (Ctrl-C stops it)")
        server.run(sockets=[listening])
