"""The cache of this program: where it lies, and the digests by which a damaged entry is found before it is used.

Beside each entry, a folder or a file, lies `<entry>.sha256` in the format of `sha256sum`: a line for each file with its
sha256 and its path. An entry without this file was not finished, or an earlier version wrote it; it is made again.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.atomic import remove_leftovers
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of, write_text_atomic

KINDS = {
    "agents": "compiled agents",
    "packages": "checkpoints from packages",
    "checkpoints": "converted checkpoints",
    "runtime": "the browser runtime, compiled",
    "tokenizers": "tokenizers found equal to the page's",
    "npm": "the page's tokenizer library",
}
"""Folders of the cache and what is in them, for people."""

_SUFFIX = ".sha256"


@dataclass(frozen=True)
class Entry:
    """Something in the cache.

    Attributes:
        kind: The folder of the cache that it lies in.
        path: The entry itself.
        size_bytes: Of all its files.
    """

    kind: str
    path: Path
    size_bytes: int


def cache_folder() -> Path:
    """``RMAS_CACHE_DIR``, else ``~/.cache/recursivemas``."""
    named = os.environ.get("RMAS_CACHE_DIR")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "recursivemas"


def kind_folder(kind: str) -> Path:
    """The folder for entries of a kind, which may not exist yet; what killed processes left in it is removed.

    Args:
        kind: A key of `KINDS`.
    """
    folder = cache_folder() / kind
    remove_leftovers(folder)
    return folder


def seal(entry: Path) -> None:
    """Writes the digests of a complete entry beside it.

    Args:
        entry: A folder or file, which from now on must not change.
    """
    lines = [f"{sha256_of(path)}  {name}\n" for name, path in sorted(_files(entry).items())]
    write_text_atomic(digests_of(entry), "".join(lines))


def damage(entry: Path) -> str | None:
    """Compares an entry with the digests that were written when it was made.

    Args:
        entry: A folder or file of the cache.

    Returns:
        None if every file is as it was written; else what is wrong, to follow the entry's name in a message.
    """
    if not entry.exists():
        return "is missing"
    try:
        lines = digests_of(entry).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "has no digests"
    wanted = {name: digest for digest, found, name in (line.partition("  ") for line in lines) if found}
    files = _files(entry)
    if missing := wanted.keys() - files.keys():
        return f"lacks {min(missing)}"
    if added := files.keys() - wanted.keys():
        return f"has {min(added)} that was not written with it"
    for name, path in files.items():
        try:
            if sha256_of(path) != wanted[name]:
                return f"has other bytes in {name} than were written"
        except OSError as error:
            return f"has {name} that cannot be read ({error.strerror})"
    return None if wanted else "is empty"


def digests_of(entry: Path) -> Path:
    """The file beside an entry that has its digests."""
    return entry.with_name(entry.name + _SUFFIX)


def remove(entry: Path) -> None:
    """Removes an entry and its digests; nothing happens if there is none."""
    digests_of(entry).unlink(missing_ok=True)
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def entries() -> Iterator[Entry]:
    """Every entry of the cache, by kind and name; what a killed process left behind is among them."""
    for kind in KINDS:
        folder = cache_folder() / kind
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix not in (_SUFFIX, ".lock"):
                    yield Entry(kind, path, sum(file.stat().st_size for file in _files(path).values()))


def find_entry(name: str) -> Entry:
    """Finds an entry by the beginning of `<kind>/<name>`, as `rmas cache list` shows it.

    Raises:
        InputError: There is no such entry, or several.
    """
    found = [entry for entry in entries() if f"{entry.kind}/{entry.path.name}".startswith(name)]
    if len(found) != 1:
        raise InputError(
            f"{name}: {'several entries' if found else 'no entry'} of the cache {'begin' if found else 'begins'} so; "
            "`rmas cache list` shows all"
        )
    return found[0]


def _files(entry: Path) -> dict[str, Path]:
    """The files of an entry by their paths in it; a file that is an entry has its own name."""
    if not entry.is_dir():
        return {entry.name: entry}
    return {path.relative_to(entry).as_posix(): path for path in entry.rglob("*") if not path.is_dir()}
