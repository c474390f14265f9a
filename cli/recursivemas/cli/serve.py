"""`rmas serve`: the playground and built systems on localhost."""

import socket
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from recursivemas.release.serve import site_app
from recursivemas.release.site import is_site
from recursivemas.system.errors import InputError


def serve_command(
    folder: Annotated[Path, typer.Argument(help="A built system, a folder of built systems, or a site.")] = Path(
        "dist"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8080,
    page: Annotated[
        Path | None, typer.Option(help="The built page, which 'make page' makes. Default: the site's, or web/dist.")
    ] = None,
) -> None:
    """Serves on 127.0.0.1 for pages of this machine, with byte ranges, entity tags and a strict security policy."""
    page = page or (folder if is_site(folder) else Path("web/dist"))
    server = uvicorn.Server(uvicorn.Config(site_app(page, folder, partial(typer.echo, err=True)), log_level="warning"))
    with _bound(port) as listening:
        typer.echo(f"Playground: http://127.0.0.1:{listening.getsockname()[1]}/ (Ctrl-C stops it)")
        server.run(sockets=[listening])


def _bound(port: int) -> socket.socket:
    listening = socket.socket()
    # The port of a server that just stopped waits for a minute; it may be used again at once.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # from here on, browsers wait instead of being refused
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} on 127.0.0.1 cannot be used ({error.strerror}); choose another with --port, or "
            "'make playground PORT=…'; 0 takes a free one"
        ) from None
    return listening
