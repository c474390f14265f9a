"""A static site: the built page at the root, systems under `systems/<name>/`, their names in `systems/index.json`."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recursivemas.build.precompress import precompress
from recursivemas.build.release_folder import SBOM
from recursivemas.build.sbom import page_sbom
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest


def find_systems(folder: Path) -> list[Path]:
    """Built systems in a folder: the folder itself, or those directly below it, by name.

    Raises:
        InputError: When there is none.
    """
    if (folder / "system.json").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/system.json")) if folder.is_dir() else []
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
    if out.exists() and any(out.iterdir()) and not (out / "systems" / "index.json").is_file():
        raise InputError(f"{out}: exists and is not an earlier site; choose another --out")
    index = systems_index(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        site = Path(temporary) / "site"
        shutil.copytree(page, site)
        (site / "systems").mkdir(exist_ok=True)
        for entry, folder in zip(index["systems"], folders, strict=True):
            shutil.copytree(folder, site / "systems" / entry["name"])
        lock_file = page.parent / "package-lock.json"
        if lock_file.is_file():  # a page that was moved away from its sources has none beside it
            (site / SBOM).write_text(page_sbom(lock_file), encoding="utf-8")
        (site / "systems" / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        if gzip:
            precompress(site)
        if out.exists():
            shutil.rmtree(out)
        site.replace(out)
    return [entry["name"] for entry in index["systems"]]
