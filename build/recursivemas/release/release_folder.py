"""A built system that is about to be released: every file is checked against the manifest before any is uploaded."""

from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.errors import InputError
from recursivemas.system.manifest import FileRecord, Manifest, load_manifest
from recursivemas.system.names import FILES

_NAMES = {role.name: role.file for role in FILES}
MANIFEST = _NAMES["manifest"]
SBOM = _NAMES["bill_of_materials"]
"""The software bill of materials, which `rmas build` writes."""
INDEX = _NAMES["index"]
"""The list of a site's systems."""


@dataclass(frozen=True)
class ReleaseFolder:
    """A checked folder.

    Attributes:
        folder: Its path.
        manifest: Its `system.json`.
        record: Size and sha256 of the manifest itself; the page shows the sha256, and it is part of the release's name.
    """

    folder: Path
    manifest: Manifest
    record: FileRecord

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file. The manifest comes last, so that everything it lists is there when it appears."""
        return (*sorted(self.manifest.files, key=lambda file: file.path), self.record)

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def quantizations(self) -> tuple[str, ...]:
        """The system's own quantization, followed by those of its variants."""
        own = [agent.quantization for agent in self.manifest.agents]
        return tuple(dict.fromkeys([*own, *(variant.quantization for variant in self.manifest.variants)]))

    @property
    def label(self) -> str:
        """A name for this build: the system's name, its quantizations and the beginning of the manifest's sha256."""
        return "-".join([self.manifest.name, *self.quantizations, self.record.sha256[:12]])


def check_release_folder(folder: Path) -> ReleaseFolder:
    """Checks a built system before it is released.

    Args:
        folder: `dist/<system>`.

    Raises:
        InputError: There is no manifest, or a file is missing, differs from the manifest in size or sha256, is listed
            twice, is not listed, or is a symbolic link.
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
    mend = "the folder was changed after the build; build it again with `rmas build`"
    if not path.is_file():
        raise InputError(f"{path}: missing, but {MANIFEST} lists it; {mend}")
    size = path.stat().st_size
    if size != record.size_bytes:
        raise InputError(f"{path}: has {size} bytes, {MANIFEST} says {record.size_bytes}; {mend}")
    found = FileRecord.of(path, folder)
    if found.sha256 != record.sha256:
        raise InputError(f"{path}: its sha256 is {found.sha256[:12]}…, {MANIFEST} says {record.sha256[:12]}…; {mend}")
