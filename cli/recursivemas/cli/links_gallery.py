"""`rmas links gallery`: checks or writes the list of the gallery page."""

from pathlib import Path
from typing import Annotated

import typer

from recursivemas.cli.console import plain_console
from recursivemas.system.errors import InputError


def gallery_command(
    file: Annotated[Path, typer.Argument(help="The list, systems/gallery.json.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing, and fail if an entry is not what its files say.")
    ] = False,
    add: Annotated[
        Path | None, typer.Option(metavar="SYSTEM", help="Add an entry for this system's YAML file.")
    ] = None,
    links: Annotated[Path | None, typer.Option(help="The link file of the added system.")] = None,
    licence: Annotated[str | None, typer.Option("--license", help="Licence of the added links.")] = None,
    agents_changed: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Why the added system's agents have other weights than the links were trained with."
        ),
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="Report of rmas eval, or a folder of reports. May be repeated."),
    ] = None,
) -> None:
    """Reads every entry's system, agents and links anew and writes what they say into the list.

    An entry is checked as `rmas links publish` checks links: its provenance, its fit and the agents' very weights.
    """
    from recursivemas.release.gallery import check_entry, new_entry, save_gallery, share_entry
    from recursivemas.system.shared_links import load_gallery
    from recursivemas.training.trained_with import check_trained_with

    if (add is None) != (links is None) or (add is None) != (licence is None) or (add is None and agents_changed):
        raise InputError("--add SYSTEM, --links FILE and --license NAME go together, and --agents-changed needs them")
    if check and add is not None:
        raise InputError("--check writes nothing: leave out --add")
    say = plain_console(stderr=True, soft_wrap=True).print
    root, entries = file.parent, []
    for entry in load_gallery(file).entries if file.is_file() or add is None else ():
        share = share_entry(root, entry, measured or ())
        check_trained_with(share.system, share.links, root / entry.links, entry.record.trained.agents_changed)
        if check:
            check_entry(entry, share, file)
        entries.append(entry.model_copy(update={"record": share.record}))
        say(f"{share.record.system}: {entry.links} fits its agents")
    if add is not None and links is not None and licence is not None:
        entry, share = new_entry(root, add, links, licence, measured or (), agents_changed=agents_changed)
        check_trained_with(share.system, share.links, links, agents_changed)
        entries = [each for each in entries if each.system != entry.system] + [entry]
        say(f"{share.record.system}: {entry.links} fits its agents")
    if not check:
        save_gallery(file, entries)
    typer.echo(f"{file}: {len(entries)} entries")
