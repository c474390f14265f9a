"""`systems/gallery.json`: the links of the gallery page, each with a record that follows from its files.

Source: docs/sharing-links.md. The page is web/gallery.html.
"""

from collections.abc import Sequence
from pathlib import Path

from recursivemas.release.shared_links import Share, share_links
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.progress import Say, silent
from recursivemas.system.shared_links import Gallery, GalleryEntry


def gallery_text(gallery: Gallery) -> str:
    """The content of the list's file."""
    return gallery.model_dump_json(by_alias=True, indent=1) + "\n"


def share_entry(root: Path, entry: GalleryEntry, measured: Sequence[Path] = (), say: Say = silent) -> Share:
    """Reads the files of an entry anew; the licence and the reason for other weights stay as they are.

    Args:
        root: The list's folder.
        entry: The entry.
        measured: Reports of `rmas eval`, or folders of reports.
        say: Called with one line before each step that may take long.

    Raises:
        InputError: A file is missing or broken, or the links do not fit their system.
    """
    changed = entry.record.trained.agents_changed
    system, links = root / entry.system, root / entry.links
    return share_links(links, system, entry.record.license, measured, say, agents_changed=changed)


def new_entry(
    root: Path,
    system: Path,
    links: Path,
    licence: str,
    measured: Sequence[Path] = (),
    say: Say = silent,
    *,
    agents_changed: str | None = None,
) -> tuple[GalleryEntry, Share]:
    """An entry for files below the list's folder.

    Raises:
        InputError: A file lies elsewhere, or as `share_links`.
    """
    names = []
    for path in (system, links):
        if not path.absolute().is_relative_to(root.absolute()):
            raise InputError(f"{path}: lies outside of {root}; a gallery lists files of its own folder")
        names.append(path.absolute().relative_to(root.absolute()).as_posix())
    share = share_links(links, system, licence, measured, say, agents_changed=agents_changed)
    return GalleryEntry(system=names[0], links=names[1], record=share.record), share


def check_entry(entry: GalleryEntry, share: Share, source: Path) -> None:
    """Checks that an entry's record is what its files say.

    Raises:
        InputError: A value differs; the line names the first.
    """
    said, found = entry.record.model_dump(mode="json"), share.record.model_dump(mode="json")
    if said == found:
        return
    key = next(key for key in {**found, **said} if said.get(key) != found.get(key))
    raise InputError(
        f"{source}: the entry {entry.record.system!r} has another {key!r} than {entry.links} and its system; "
        "run `rmas links gallery` to write it anew"
    )


def save_gallery(path: Path, entries: Sequence[GalleryEntry]) -> None:
    """Writes the list atomically."""
    write_text_atomic(path, gallery_text(Gallery(entries=tuple(entries))))
