"""`rmas publish`: publishes a built system on the Hugging Face Hub or a GitHub Release."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from recursivemas.cli.console import plain_console
from recursivemas.release.publish import Destination, finish, publish
from recursivemas.system.errors import InputError
from recursivemas.system.files import is_hub_id


def publish_command(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A built system, dist/<system>. Leave it out with --finish.")
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option(help="Repository on the Hugging Face Hub, owner/name. It is created if it does not exist."),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="Tag of a GitHub Release. It is created if it does not exist.")
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option(help="Keep the release's files in this folder, and use the files that are already in it."),
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Leave a new release a draft, because more systems follow before --finish.")
    ] = False,
    finish_draft: Annotated[
        bool, typer.Option("--finish", help="Make the draft --release public. This uploads nothing.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new Hub repository private.")] = False,
    attested: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Publish only what this GitHub repository's workflow build-system attested. This needs gh.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every file that would be uploaded. This needs no network.")
    ] = False,
) -> None:
    """Checks a system against its manifest and uploads the files that the destination does not have yet.

    Run it again after any failure: files that arrived are kept. The Hub's token comes from HF_TOKEN or from 'hf auth
    login', GitHub's from the gh command or GH_TOKEN.
    """
    if finish_draft and (release is None or hub is not None or folder is not None or draft or attested):
        raise InputError(
            "--finish makes a draft public and sends nothing: expected `rmas publish --release TAG --finish`"
        )
    if folder is None and not finish_draft:
        raise InputError("nothing to publish: give the folder of a built system, dist/<system>")
    if draft and release is None:
        raise InputError("--draft is about a GitHub Release: give --release TAG too")
    if hub is not None and (not hub.strip() or hub.startswith("/")):
        raise InputError(
            f"--hub {hub!r} lacks its owner: expected OWNER/NAME; in GitHub Actions set the repository variable "
            "HUB_NAMESPACE to your user or organisation on the Hub"
        )
    if release is not None and not release.strip():
        raise InputError("--release is empty: expected a tag, for example v0.1.0")
    if attested is not None and (not is_hub_id(attested) or finish_draft):
        raise InputError(
            f"--attested {attested!r}: expected OWNER/NAME of a GitHub repository, and a folder to publish"
        )
    if hub is None and release is None:
        raise InputError("nowhere to publish to: give --hub OWNER/NAME, --release TAG, or both")
    console = plain_console(stderr=True, soft_wrap=True)
    destination = Destination(hub, release, draft, assets, private, attested)
    for line in _lines(folder, destination, dry_run, console.print):
        typer.echo(line)


def _lines(folder: Path | None, destination: Destination, dry_run: bool, say: Callable[[str], None]) -> Iterator[str]:
    if folder is not None:
        return publish(folder, destination, dry_run=dry_run, say=say)
    return finish(destination.release or "", dry_run=dry_run, say=say)
