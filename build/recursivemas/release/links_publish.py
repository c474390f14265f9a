"""Publishes links without agents on the Hugging Face Hub, or lists what would be uploaded.

Source: docs/sharing-links.md. A repository holds the links of one system.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi

from recursivemas.release.hub_upload import (
    CARD,
    Upload,
    check_on_hub,
    commit_to_hub,
    earlier_record,
    hub_address,
    trusted_publishing,
)
from recursivemas.release.links_card import links_card
from recursivemas.release.release_folder import MANIFEST
from recursivemas.release.shared_links import Share
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Say
from recursivemas.system.shared_links import RECORD, SharedLinks, load_shared_links


def publish_links(share: Share, repo_id: str, *, private: bool, dry_run: bool, say: Say) -> Iterator[str]:
    """Makes a repository hold the link file, its record and its card, by one commit.

    Args:
        share: The checked links.
        repo_id: `owner/name`; made when it does not exist.
        private: Whether a new repository is private.
        dry_run: Only list what would be uploaded, without a network.
        say: Called with one line before each step.

    Yields:
        Lines of the result, for standard output.

    Raises:
        InputError: A destination refuses, or holds other files than were sent.
    """
    record = share.record
    files: dict[str, Path | bytes] = {
        record.links.path: share.content,
        RECORD: record.text().encode(),
        CARD: links_card(share).encode(),
    }
    if dry_run:
        yield f"would commit to {hub_address(repo_id)}/ (unchanged files are not uploaded again):"
        for path, content in files.items():
            assert isinstance(content, bytes)
            yield f"  {path}  {len(content)} bytes  {hashlib.sha256(content).hexdigest()}"
        return
    upload = Upload(
        files,
        f"Links of {record.system}, sha256 {record.links.sha256[:12]}",
        lambda api, head: _earlier(api, record, repo_id, head),
    )
    trusted_publishing(repo_id)
    commit = commit_to_hub(upload, repo_id, private=private, say=say)
    check_on_hub(upload, repo_id, commit)
    say(f"{repo_id} holds the {len(files)} files as they were sent")
    yield f"{hub_address(repo_id, commit)}/{RECORD}"


def _earlier(api: HfApi, record: SharedLinks, repo_id: str, head: str) -> set[str]:
    """The files of an earlier record of the same system; nothing else may be in the repository's place."""
    present = set(api.list_repo_files(repo_id, revision=head))
    if MANIFEST in present:
        raise InputError(f"{repo_id} holds a built system; links need a repository of their own: choose another --hub")
    earlier = earlier_record(api, repo_id, head, present, RECORD, load_shared_links)
    if earlier is None:
        return set()
    if earlier.system != record.system:
        raise InputError(
            f"{repo_id} holds links of the system {earlier.system!r}, these are of {record.system!r}; a repository "
            "holds the links of one system: choose another --hub"
        )
    return {earlier.links.path} & present
