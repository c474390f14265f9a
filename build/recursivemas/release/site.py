"""A static site: the built page at the root, systems under `systems/<name>/`, their list in `systems/index.json`."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from recursivemas.release.precompress import precompress
from recursivemas.release.release_folder import INDEX, MANIFEST, SBOM
from recursivemas.release.sbom import page_sbom
from recursivemas.system.atomic import check_replaceable, copy_folder, output_folder
from recursivemas.system.catalog import IndexEntry, SystemsIndex
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import Manifest, load_manifest
from recursivemas.system.progress import Say, silent

_INDEX = f"systems/{INDEX}"


def is_site(folder: Path) -> bool:
    """Whether `rmas site` made a folder."""
    return (folder / _INDEX).is_file()


def find_systems(folder: Path) -> list[Path]:
    """Finds built systems: the folder itself, or else those directly below it, or below its `systems` if it is a site.

    Returns:
        Their folders, sorted by name.

    Raises:
        InputError: There is none.
    """
    if is_site(folder):
        folder = folder / "systems"
    if (folder / MANIFEST).is_file():
        return [folder]
    # The name of an unfinished build begins with a dot.
    found = sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}")) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder}: no built system there (expected a {MANIFEST}); `rmas build` makes one")
    return found


def systems_index(folders: Sequence[Path]) -> SystemsIndex:
    """The content of `systems/index.json`."""
    manifests = [load_manifest(folder / MANIFEST) for folder in folders]
    return SystemsIndex(systems=tuple(_entry(manifest) for manifest in manifests))


def _entry(manifest: Manifest) -> IndexEntry:
    return IndexEntry(
        name=manifest.name,
        description=manifest.description,
        pattern=manifest.pattern,
        path=f"{manifest.name}/{MANIFEST}",
        size_bytes=sum(file.size_bytes for file in manifest.files),
    )


def check_page(page: Path) -> None:
    """Checks that the page has been built.

    Raises:
        InputError: It has not.
    """
    if not (page / "index.html").is_file():
        raise InputError(f"{page}: no built page there (expected index.html); run `make page` first")


def assemble_site(
    page: Path, systems: Sequence[Path], out: Path, *, encodings: Sequence[str] = (), say: Say = silent
) -> list[str]:
    """Copies the page and systems into one folder, whole or not at all.

    Files of the user's own at the top of an earlier site, such as `CNAME`, are kept.

    Args:
        page: The built page.
        systems: Folders with a `system.json`, or folders of such folders.
        out: The site's folder; it must be new, empty or an earlier site (with `systems/index.json`).
        encodings: Also write compressed files, some of `precompress.ENCODINGS`, for hosts that serve `<file>.gz` or
            `<file>.br` in place of a file.
        say: Called with one line for each library that is compressed.

    Returns:
        Names of the systems.

    Raises:
        InputError: The page or a system is not built, two systems have one name, or `out` holds something else.
    """
    check_page(page)
    folders = [found for folder in systems for found in find_systems(folder)]
    check_replaceable(out, _INDEX, "an earlier site")
    index = systems_index(folders)
    names = [entry.name for entry in index.systems]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice}: two of the systems have this name; leave one out")
    with output_folder(out) as site:
        for path in sorted(page.iterdir()):
            (copy_folder if path.is_dir() else shutil.copy2)(path, site / path.name)
        (site / "systems").mkdir(exist_ok=True)
        for name, folder in zip(names, folders, strict=True):
            copy_folder(folder, site / "systems" / name)
        lock_file = page.parent / "package-lock.json"
        if lock_file.is_file():  # it is missing beside a page that was copied elsewhere
            (site / SBOM).write_text(page_sbom(lock_file), encoding="utf-8")
        (site / _INDEX).write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")
        precompress(site, encodings, say)
        _keep_others(out, site)
    return names


def _keep_others(earlier: Path, site: Path) -> None:
    """Copies what lies at the top of an earlier site and not of this one, except for compressed files of this one's."""
    for path in sorted(earlier.iterdir()) if earlier.is_dir() else ():
        if (site / path.name).exists() or (path.suffix in (".gz", ".br") and (site / path.stem).exists()):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, site / path.name, symlinks=True)
        else:
            shutil.copy2(path, site / path.name, follow_symlinks=False)
