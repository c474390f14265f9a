"""`rmas links publish`: shares trained links on the Hugging Face Hub, without the agents."""

from pathlib import Path
from typing import Annotated

import typer

from recursivemas.cli.console import plain_console
from recursivemas.system.errors import InputError
from recursivemas.system.files import is_hub_id


def publish_command(
    file: Annotated[Path, typer.Argument(help="A recursivelink.json from rmas train.")],
    system: Annotated[Path, typer.Option(help="The system that the links were trained for.")],
    hub: Annotated[str, typer.Option(help="Repository on the Hugging Face Hub, owner/name. It is created if needed.")],
    licence: Annotated[
        str, typer.Option("--license", help="Licence of the links, as the Hub spells it, for example apache-2.0.")
    ],
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="Report of rmas eval with these links, or a folder of reports. May be repeated."),
    ] = None,
    agents_changed: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Why the agents' weights are not those that the links were trained with. The card says so.",
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every file that would be uploaded. This needs no network.")
    ] = False,
) -> None:
    """Checks links against their system and uploads them with a record and a card.

    The agents are loaded, because the links must have been trained with their very weights. Run it again after any
    failure: files that arrived are kept. The token comes from HF_TOKEN or from 'hf auth login'.
    """
    from recursivemas.release.links_publish import publish_links
    from recursivemas.release.shared_links import share_links
    from recursivemas.training.trained_with import check_trained_with

    if not is_hub_id(hub):
        raise InputError(f"--hub {hub!r}: expected OWNER/NAME of a repository on the Hugging Face Hub")
    say = plain_console(stderr=True, soft_wrap=True).print
    share = share_links(file, system, licence, measured or (), say, agents_changed=agents_changed)
    say("Comparing the agents' weights with those that the links were trained with")
    check_trained_with(share.system, share.links, file, agents_changed)
    say(f"{file}: fits {share.system.name}, and its provenance is complete")
    for line in publish_links(share, hub, private=private, dry_run=dry_run, say=say):
        typer.echo(line)
