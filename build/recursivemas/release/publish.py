"""Publishes a built system after checking it, or lists what would be uploaded."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recursivemas.release.attestation import check_attested
from recursivemas.release.github_release import finish_release, publish_to_release
from recursivemas.release.hub_upload import contents, hub_address, publish_to_hub, trusted_publishing
from recursivemas.release.release_assets import pack_assets, packed_assets
from recursivemas.release.release_folder import MANIFEST, ReleaseFolder, check_release_folder
from recursivemas.release.release_notes import release_notes
from recursivemas.system.atomic import scratch_folder
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Say


@dataclass(frozen=True)
class Destination:
    """Where a system is published.

    Attributes:
        hub: `owner/name` on the Hugging Face Hub.
        release: Tag of a GitHub Release of the repository that the working folder belongs to.
        draft: Whether a release that is a draft stays one, because more systems follow.
        assets: Folder that keeps the release's files; complete files that are already there are used. If None, the
            files are removed afterwards.
        private: Whether a new Hub repository is private.
        attested: A GitHub repository, `owner/name`, whose workflow must have attested what is published.
    """

    hub: str | None = None
    release: str | None = None
    draft: bool = False
    assets: Path | None = None
    private: bool = False
    attested: str | None = None


def publish(folder: Path, destination: Destination, *, dry_run: bool, say: Say) -> Iterator[str]:
    """Publishes a built system.

    Args:
        folder: `dist/<system>`.
        destination: Where to publish it.
        dry_run: Only list what would be uploaded, without a network.
        say: Called with one line before each step.

    Yields:
        Lines of the result, for standard output.

    Raises:
        InputError: The folder does not match its manifest or its attestation, or a destination refuses.
    """
    checked = check_release_folder(folder)
    say(f"{folder}: {len(checked.files)} files match {MANIFEST}, sha256 {checked.record.sha256}")
    if destination.attested is not None:
        check_attested([folder / MANIFEST], destination.attested, say)
    if destination.hub is not None:
        yield from _hub(checked, destination.hub, destination.private, dry_run, say)
    if destination.release is not None:
        yield from _release(checked, destination.release, destination, dry_run, say)


def finish(tag: str, *, dry_run: bool, say: Say) -> Iterator[str]:
    """Makes a GitHub Release public that is still a draft.

    Yields:
        Lines of the result, for standard output.

    Raises:
        InputError: There is no such release, or a system in it is incomplete.
    """
    if dry_run:
        yield f"would make the GitHub release {tag} public"
        return
    yield from finish_release(tag, say=say)


def _hub(checked: ReleaseFolder, repo_id: str, private: bool, dry_run: bool, say: Say) -> Iterator[str]:
    if dry_run:
        sha256 = {file.path: file.sha256 for file in checked.files}
        yield f"would commit to {hub_address(repo_id)}/ (unchanged files are not uploaded again):"
        for path, content in sorted(contents(checked, repo_id).items()):
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            yield f"  {path}  {size} bytes  {sha256.get(path, 'generated')}"
        return
    trusted_publishing(repo_id)
    commit = publish_to_hub(checked, repo_id, private=private, say=say)
    yield f"{hub_address(repo_id, commit)}/{MANIFEST}"


def _release(checked: ReleaseFolder, tag: str, where: Destination, dry_run: bool, say: Say) -> Iterator[str]:
    with _assets_folder(where.assets) as out:
        assets = packed_assets(checked, out)
        say(f"Using the files of {checked.label} in {out}" if assets else "Packing the release's files")
        assets = assets or pack_assets(checked, out)
        if where.attested is not None:
            check_attested([asset.path for asset in assets], where.attested, say)
        if dry_run:
            yield f"would attach to the GitHub release {tag}:"
            yield from (f"  {asset.path.name}  {asset.size_bytes} bytes  {asset.sha256}" for asset in assets)
            return
        notes = release_notes(checked)
        yield from publish_to_release(tag, assets, label=checked.label, notes=notes, draft=where.draft, say=say)


@contextmanager
def _assets_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with scratch_folder(Path(tempfile.gettempdir()), "rmas-release") as folder:
            yield folder
        return
    if keep.exists() and not keep.is_dir():
        raise InputError(f"--assets {keep}: is a file; expected a folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep
