"""Checks a folder that somebody else made before its files are read: links, special files, and the hub's digests."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of


def check_files(folder: Path) -> None:
    """Refuses a folder in which something is read from elsewhere, or would never end.

    The folder itself may be a link. In the hub's own cache, files are links into the `blobs` folder beside.

    Args:
        folder: A checkpoint, an adapter or an agent.

    Raises:
        InputError: A link leads out of the folder or nowhere, or there is a pipe, a device or a socket.
    """
    root = folder.resolve()
    blobs = _blobs(root)
    for path in _everything(folder):
        if path.is_symlink():
            target = path.resolve()
            if not target.is_relative_to(root) and target.parent != blobs:
                raise InputError(
                    f"{path}: is a link to {path.readlink()}, which is outside of the folder and is not read; put a "
                    "copy of the file in its place"
                )
        if not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: expected an ordinary file, found a broken link, a pipe or a device; remove it")


def damaged_downloads(snapshot: Path) -> list[Path]:
    """Finds files of the hub's cache whose bytes are not those that the hub sent.

    The cache names a large file by its sha256 and a small one by its git hash: sha1 over
    `blob <size>\\0` and the bytes.

    Args:
        snapshot: A folder of the hub's cache, `…/snapshots/<commit>`.

    Returns:
        The damaged files, in the `blobs` folder. Files that are no links have no digest and are not among them.
    """
    root = snapshot.resolve()
    damaged = []
    for path in _everything(root):
        blob = path.resolve()
        if path.is_symlink() and blob.parent == _blobs(root) and not _as_named(blob):
            damaged.append(blob)
    return damaged


def _as_named(blob: Path) -> bool:
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return sha256_of(blob) == blob.name
    if re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
        with blob.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest() == blob.name
    return True


def _blobs(root: Path) -> Path | None:
    """The hub's folder of files, if `root` is `…/snapshots/<commit>`."""
    return root.parents[1] / "blobs" if root.parent.name == "snapshots" else None


def _everything(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            yield Path(where, name)
