"""Packs a system for a GitHub Release: an archive in parts below the limit, its card, bill of materials and sums.

The same system gives the same bytes. The files' names begin with the system's name, its quantization and its manifest's
sha256, so no two builds share a name, and several systems fit into one release.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from recursivemas.release.model_card import model_card
from recursivemas.release.release_folder import SBOM, ReleaseFolder
from recursivemas.system.atomic import scratch_folder
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of

GITHUB_LIMIT_BYTES = 2 << 30
"""Each asset of a release must be smaller than this."""

PART_BYTES = 1900 << 20

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_BLOCK_BYTES = 1 << 20
_STORED = (".bin",)  # quantized weights do not compress


@dataclass(frozen=True)
class Asset:
    """One file of a release.

    Attributes:
        path: The file on this machine; its name is the asset's.
        size_bytes: Its size.
        sha256: In lower-case hexadecimal.
    """

    path: Path
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Asset":
        """Measures and hashes a file."""
        return cls(path, path.stat().st_size, sha256_of(path))

    def moved(self, folder: Path) -> "Asset":
        """Moves the file into another folder of the same disk."""
        return replace(self, path=self.path.replace(folder / self.path.name))


def pack_assets(release: ReleaseFolder, out: Path, part_bytes: int = PART_BYTES) -> list[Asset]:
    """Packs a system.

    Args:
        release: The checked folder.
        out: Folder for the files; earlier ones of the same build are replaced.
        part_bytes: Largest size of a part; the parts, concatenated in order, are the archive.

    Returns:
        The archive or its parts, the model card, the bill of materials if the system has one, and the sha256 sums of
        all of them.

    Raises:
        InputError: The disk is full or refuses to be written. No incomplete file is left.
    """
    try:
        with scratch_folder(out, ".packing") as scratch:
            packed = _pack(release, scratch, part_bytes)
            _remove(release, out)
            return [asset.moved(out) for asset in packed]  # the sums come last and say that everything is there
    except OSError as error:
        raise InputError(
            f"{out}: {release.label} cannot be packed there ({error.strerror or error}); it takes twice the "
            f"system's {release.size_bytes / 1e6:.0f} MB: make room, or give another folder with --assets"
        ) from error


def packed_assets(release: ReleaseFolder, out: Path) -> list[Asset]:
    """The files that `pack_assets` made of this build earlier, if all are there and match their sums; otherwise none.

    Compression on another machine may give other bytes, so attested files are used as they are, not packed again.
    """
    sums = out / f"{release.label}.sha256"
    if not sums.is_file():
        return []
    listed = dict(line.split("  ", 1)[::-1] for line in sums.read_text(encoding="utf-8").splitlines())
    present = {path.name for path in out.glob(f"{release.label}.*")} - {sums.name}
    if present != set(listed):
        return []
    assets = [Asset.of(out / name) for name in listed]
    return [*assets, Asset.of(sums)] if all(asset.sha256 == listed[asset.path.name] for asset in assets) else []


def _remove(release: ReleaseFolder, out: Path) -> None:
    for file in out.glob(f"{release.label}.*"):
        file.unlink()


def _pack(release: ReleaseFolder, out: Path, part_bytes: int) -> list[Asset]:
    label = release.label
    archive = out / f"{label}.zip"
    with zipfile.ZipFile(archive, "w", allowZip64=True) as target:
        for record in release.files:
            _add(target, release.folder / record.path, f"{release.manifest.name}/{record.path}")
    paths = _split(archive, part_bytes) if archive.stat().st_size > part_bytes else [archive]
    card = out / f"{label}.md"
    card.write_text(model_card(release, f"https://<your host>/{release.manifest.name}"), encoding="utf-8")
    paths.append(card)
    if (release.folder / SBOM).is_file():
        sbom = out / f"{label}.cdx.json"
        sbom.write_bytes((release.folder / SBOM).read_bytes())
        paths.append(sbom)
    assets = [Asset.of(path) for path in paths]
    sums = out / f"{label}.sha256"
    sums.write_text("".join(f"{asset.sha256}  {asset.path.name}\n" for asset in assets), encoding="utf-8")
    return [*assets, Asset.of(sums)]


def _add(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED
    entry.file_size = file.stat().st_size
    with file.open("rb") as source, archive.open(entry, "w") as target:
        while block := source.read(_BLOCK_BYTES):
            target.write(block)


def _split(archive: Path, part_bytes: int) -> list[Path]:
    parts: list[Path] = []
    with archive.open("rb") as source:
        while True:
            part = archive.with_name(f"{archive.name}.{len(parts) + 1:03d}")
            if _copy(source, part, part_bytes) == 0:
                part.unlink()
                break
            parts.append(part)
    archive.unlink()
    return parts


def _copy(source: IO[bytes], target: Path, limit: int) -> int:
    copied = 0
    with target.open("wb") as out:
        while copied < limit and (block := source.read(min(_BLOCK_BYTES, limit - copied))):
            copied += out.write(block)
    return copied
