"""`rmas publish`: a built system to the Hugging Face Hub or a GitHub Release."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recursivemas.build.publish import Destination, publish
from recursivemas.system.errors import InputError


def publish_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A built system: dist/<system>.")],
    hub: Annotated[
        str | None, typer.Option(help="Repository on the Hugging Face Hub, owner/name; made when it does not exist.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Tag of a GitHub Release; made when there is none.")] = None,
    assets: Annotated[
        Path | None, typer.Option(help="Keep the release's files in this folder; also made by --dry-run.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A new Hub repository is private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print exactly what would go where; needs no network.")
    ] = False,
) -> None:
    """Checks a system against its manifest and uploads what the destination does not have yet.

    Run it again after any failure: what arrived is kept. The Hub's token is HF_TOKEN or that of 'hf auth login';
    GitHub's is that of the gh command (GH_TOKEN).
    """
    if hub is not None and (not hub.strip() or hub.startswith("/")):
        raise InputError(
            f"--hub {hub!r} lacks its owner: expected OWNER/NAME; in GitHub Actions set the repository variable "
            "HUB_NAMESPACE to your user or organisation on the Hub"
        )
    if release is not None and not release.strip():
        raise InputError("--release is empty: expected a tag, for example v0.1.0")
    if hub is None and release is None:
        raise InputError("nowhere to publish to: give --hub OWNER/NAME, --release TAG, or both")
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    destination = Destination(hub=hub, release=release, assets=assets, private=private)
    for line in publish(folder, destination, dry_run=dry_run, say=lambda line: console.print(line)):
        typer.echo(line)
