"""A static site: the built page at the root, systems under `systems/<name>/`, their names in `systems/index.json`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recursivemas.release.precompress import precompress
from recursivemas.release.release_folder import SBOM
from recursivemas.release.sbom import page_sbom
from recursivemas.system.atomic import check_replaceable, copy_folder, output_folder
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest

_INDEX = "systems/index.json"


def is_site(folder: Path) -> bool:
    """Whether `rmas site` made a folder."""
    return (folder / _INDEX).is_file()


def find_systems(folder: Path) -> list[Path]:
    """Built systems in a folder: the folder itself, or those directly below it or a site's, by name.

    Raises:
        InputError: When there is none.
    """
    if is_site(folder):
        folder = folder / "systems"
    if (folder / "system.json").is_file():
        return [folder]
    # A dot begins the name of a build that is under way.
    found = sorted(path.parent for path in folder.glob("[!.]*/system.json")) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder}: no built system there (expected a system.json); `rmas build` makes one")
    return found


def systems_index(folders: Sequence[Path]) -> dict[str, Any]:
    """What `systems/index.json` says: each system's name, description and total size in bytes."""
    entries = []
    for folder in folders:
        manifest = load_manifest(folder / "system.json")
        entries.append(
            {
                "name": manifest.name,
                "description": manifest.description,
                "pattern": manifest.pattern,
                "path": f"{manifest.name}/system.json",
                "size_bytes": sum(file.size_bytes for file in manifest.files),
            }
        )
    return {"format": "recursivemas.systems", "version": 1, "systems": entries}


def check_page(page: Path) -> None:
    """Checks that the page has been built.

    Raises:
        InputError: When it has not.
    """
    if not (page / "index.html").is_file():
        raise InputError(f"{page}: no built page there (expected index.html); run `make page` first")


def assemble_site(page: Path, systems: Sequence[Path], out: Path, *, gzip: bool = False) -> list[str]:
    """Copies the page and systems into one folder, whole or not at all.

    Args:
        page: The built page.
        systems: Folders with a `system.json`, or folders of such folders.
        out: Replaced if it is an earlier site (has `systems/index.json`); otherwise it must not exist or be empty.
        gzip: Also write compressed forms, for hosts that serve `<file>.gz` in a file's place.

    Returns:
        Names of the systems.

    Raises:
        InputError: For a page or system that is not built, or an `out` that holds something else.
    """
    check_page(page)
    folders = [found for folder in systems for found in find_systems(folder)]
    check_replaceable(out, _INDEX, "an earlier site")
    index = systems_index(folders)
    names = [entry["name"] for entry in index["systems"]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice}: two of the systems have this name; leave one out")
    with output_folder(out) as site:
        for path in sorted(page.iterdir()):
            (copy_folder if path.is_dir() else shutil.copy2)(path, site / path.name)
        (site / "systems").mkdir(exist_ok=True)
        for name, folder in zip(names, folders, strict=True):
            copy_folder(folder, site / "systems" / name)
        lock_file = page.parent / "package-lock.json"
        if lock_file.is_file():  # a page that was moved away from its sources has none beside it
            (site / SBOM).write_text(page_sbom(lock_file), encoding="utf-8")
        (site / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        if gzip:
            precompress(site)
    return names
