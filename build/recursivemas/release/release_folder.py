"""A built system as it is released: every file checked against the manifest before anything leaves this machine."""

from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.errors import InputError
from recursivemas.system.manifest import FileRecord, Manifest, load_manifest

MANIFEST = "system.json"
SBOM = "sbom.cdx.json"
"""The system's software bill of materials, written by `rmas build`."""


@dataclass(frozen=True)
class ReleaseFolder:
    """A checked folder.

    Attributes:
        folder: Where it is.
        manifest: Its `system.json`.
        record: The manifest file's own size and sha256; the sha256 names the release, and the page shows it.
    """

    folder: Path
    manifest: Manifest
    record: FileRecord

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file, the manifest last: who sees it finds all it lists."""
        return (*sorted(self.manifest.files, key=lambda file: file.path), self.record)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def quantizations(self) -> tuple[str, ...]:
        """How the weights are stored, the system's own first, then those it also carries."""
        own = [agent.quantization for agent in self.manifest.agents]
        return tuple(dict.fromkeys([*own, *(variant.quantization for variant in self.manifest.variants)]))

    @property
    def label(self) -> str:
        """The system's name, its quantizations and the beginning of the manifest's sha256: every build has its own."""
        return "-".join([self.manifest.name, *self.quantizations, self.record.sha256[:12]])


def check_release_folder(folder: Path) -> ReleaseFolder:
    """Checks a built system before it is released.

    Args:
        folder: `dist/<system>`.

    Raises:
        InputError: There is no manifest, or a file is missing, has another size or sha256 than the manifest says, is
            listed twice, is not listed, or is a symbolic link.
    """
    manifest = load_manifest(folder / MANIFEST)
    listed = [file.path for file in manifest.files]
    if repeated := {path for path in listed if listed.count(path) > 1}:
        raise InputError(f"{folder / MANIFEST}: lists {min(repeated)} twice; build the system again with `rmas build`")
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    for name, path in sorted(present.items()):
        if path.is_symlink():
            raise InputError(f"{path}: a symbolic link; a release holds files only, build the system again")
        if name != MANIFEST and name not in set(listed):
            raise InputError(
                f"{path}: not listed in {MANIFEST}, so it is not published; remove it, or build the system again"
            )
    for record in manifest.files:
        _check_file(folder, record)
    return ReleaseFolder(folder, manifest, FileRecord.of(folder / MANIFEST, folder))


def _check_file(folder: Path, record: FileRecord) -> None:
    path = folder / record.path
    mend = "the folder was changed after it was built; build it again with `rmas build`"
    if not path.is_file():
        raise InputError(f"{path}: missing, but {MANIFEST} lists it; {mend}")
    size = path.stat().st_size
    if size != record.size_bytes:
        raise InputError(f"{path}: has {size} bytes, {MANIFEST} says {record.size_bytes}; {mend}")
    found = FileRecord.of(path, folder)
    if found.sha256 != record.sha256:
        raise InputError(f"{path}: its sha256 is {found.sha256[:12]}…, {MANIFEST} says {record.sha256[:12]}…; {mend}")
