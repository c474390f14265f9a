"""Publishes a system on the Hugging Face Hub: one commit with what changed, safe to run again after any failure.

Large files are uploaded before the commit and are addressed by their content, so a second run sends only what the first
one did not finish. The commit names its parent, so two publishers cannot mix their files. Files travel by Git LFS, not
by Xet, because LFS is the open one of the Hub's two protocols.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import huggingface_hub.constants
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its HTTP client's, unexported
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    OIDCError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from recursivemas.release.model_card import model_card
from recursivemas.release.release_folder import MANIFEST, ReleaseFolder
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest
from recursivemas.system.progress import Say, silent

CARD = "README.md"

Record = TypeVar("Record")

_ATTEMPTS = 5
_LONGEST_WAIT_S = 300
_TRANSIENT = (408, 412, 429, 500, 502, 503, 504)
"""412 means that somebody else committed in between; the next attempt starts from that commit."""

_TOKEN_HELP = "make a token with write access at https://huggingface.co/settings/tokens and set HF_TOKEN to it"


def hub_address(repo_id: str, revision: str = "main") -> str:
    """The URL below which a repository's files lie, without a slash at the end."""
    return f"{HfApi().endpoint}/{repo_id}/resolve/{revision}"


def contents(release: ReleaseFolder, repo_id: str) -> dict[str, Path | bytes]:
    """Every file of the repository by its path: the checked folder's, and the model card."""
    files: dict[str, Path | bytes] = {file.path: release.folder / file.path for file in release.files}
    files[CARD] = model_card(release, hub_address(repo_id)).encode()
    return files


@dataclass(frozen=True)
class Upload:
    """What one commit puts into a repository.

    Attributes:
        files: Every file by its path.
        message: Of the commit.
        earlier: Called with the Hub and the commit that the repository is at: returns the files of an earlier release,
            of which those that `files` lacks are removed, and raises InputError if the repository holds something else.
    """

    files: dict[str, Path | bytes]
    message: str
    earlier: Callable[[HfApi, str], set[str]]


def publish_to_hub(release: ReleaseFolder, repo_id: str, *, private: bool = False, say: Say = silent) -> str:
    """Makes a repository hold exactly this release, beside whatever files of other origin it has.

    Args:
        release: The checked folder.
        repo_id: `owner/name`; made when it does not exist.
        private: Whether a new repository is private.
        say: Called with one line before each step.

    Returns:
        The commit that holds the release.

    Raises:
        InputError: The token is missing or refused, there is no room left, the repository holds another system, or the
            Hub stays out of reach. Run it again to go on where it stopped.
    """
    upload = Upload(
        contents(release, repo_id),
        f"{release.manifest.name}, manifest {release.record.sha256[:12]}",
        lambda api, head: _earlier(api, release, repo_id, head),
    )
    return commit_to_hub(upload, repo_id, private=private, say=say)


def commit_to_hub(upload: Upload, repo_id: str, *, private: bool = False, say: Say = silent) -> str:
    """Makes a repository hold some files by one commit; see `publish_to_hub`.

    Returns:
        The commit that holds them.

    Raises:
        InputError: As `publish_to_hub`.
    """
    with _one_line(repo_id), _plain_lfs():
        if get_token() is None:
            raise InputError(
                f"no token for the Hugging Face Hub: {_TOKEN_HELP} (in GitHub Actions: the secret HF_TOKEN)"
            )
        api = HfApi(token=True)  # reads the token anew at every call, because a workflow's token lives for an hour
        api.create_repo(repo_id, exist_ok=True, private=private or None)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _commit(api, upload, repo_id, say)
            except (HTTPError, OSError, RuntimeError) as error:
                if attempt == _ATTEMPTS or not _is_transient(error):
                    raise
                wait = _wait_s(error, attempt)
                say(f"{_first_line(error)}; trying again in {wait} s")
                time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def earlier_record(
    api: HfApi, repo_id: str, head: str, present: Set[str], name: str, load: Callable[[Path], Record]
) -> Record | None:
    """What a repository's record says, of a release that was published before.

    Args:
        api: The Hub.
        repo_id: `owner/name`.
        head: The commit that the repository is at.
        present: The paths of its files.
        name: Of the record.
        load: Reads the record.

    Returns:
        None if there is no record, or one that this program cannot read: nothing of that release is removed.
    """
    if name not in present:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            return load(Path(api.hf_hub_download(repo_id, name, revision=head, local_dir=folder)))
        except InputError:
            return None


def check_on_hub(upload: Upload, repo_id: str, commit: str) -> None:
    """Compares what the Hub says that a commit holds with what was sent: sizes, and sha256 or git's own digest.

    Raises:
        InputError: A file is missing or differs, or the Hub stays out of reach.
    """
    with _one_line(repo_id):
        tree = HfApi(token=True).list_repo_tree(repo_id, recursive=True, revision=commit)
        held = {each.path: each for each in tree if isinstance(each, RepoFile)}
    for path, content in upload.files.items():
        sent = content if isinstance(content, bytes) else content.read_bytes()
        found = held.get(path)
        if found is None or found.size != len(sent):
            raise InputError(f"{repo_id}: the Hub does not hold {path} as it was sent; publish again")
        digests = (found.lfs.sha256, hashlib.sha256(sent).hexdigest()) if found.lfs else (found.blob_id, git_hash(sent))
        if digests[0] != digests[1]:
            raise InputError(f"{repo_id}: the Hub holds other bytes of {path} than were sent; publish again")


def _commit(api: HfApi, upload: Upload, repo_id: str, say: Say) -> str:
    """Commits once. The library leaves out what has not changed, and makes no commit when nothing has."""
    head = api.repo_info(repo_id, revision="main").sha
    if head is None:
        raise InputError(f"{repo_id}: the Hub does not say which commit its main branch is at; try again")
    gone = upload.earlier(api, head) - upload.files.keys()
    say(f"Comparing {len(upload.files)} files with {repo_id}, sending what changed, removing {len(gone)}")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path, content) for path, content in upload.files.items()),
        *(CommitOperationDelete(path, is_folder=False) for path in sorted(gone)),
    ]
    commit = api.create_commit(
        repo_id,
        operations,
        commit_message=upload.message,
        parent_commit=head,
    )
    if commit.oid == head:
        say(f"{repo_id} holds this release already")
    return str(commit.oid)


def _earlier(api: HfApi, release: ReleaseFolder, repo_id: str, head: str) -> set[str]:
    """Files in the repository that the earlier release lists; files of any other origin are never removed."""
    present = set(api.list_repo_files(repo_id, revision=head))
    earlier = earlier_record(api, repo_id, head, present, MANIFEST, load_manifest)
    if earlier is None:
        return set()
    if earlier.name != release.manifest.name:
        raise InputError(
            f"{repo_id} holds the system {earlier.name!r}, this one is {release.manifest.name!r}; a repository holds "
            "one system: choose another --hub"
        )
    return {file.path for file in earlier.files} & present


@contextmanager
def _plain_lfs() -> Iterator[None]:
    before = huggingface_hub.constants.HF_HUB_DISABLE_XET
    huggingface_hub.constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _one_line(repo_id: str) -> Iterator[None]:
    """Turns what the Hub and its library say into one line for people."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(f"--hub {repo_id}: expected owner/name; {_first_line(error)}") from None
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set, so nothing can be published; unset it") from None
    except OIDCError as error:
        raise InputError(f"the Hub's trusted publishing failed ({_first_line(error)}); {_TOKEN_HELP}") from None
    except InputError:
        raise
    except (HTTPError, OSError, ValueError, RuntimeError) as error:  # the library and its uploader raise all of these
        raise InputError(_explain(repo_id, error)) from error


def _explain(repo_id: str, error: BaseException) -> str:
    cause = _http_cause(error)
    said = _server_message(cause) if cause is not None else " ".join(str(error).split())
    status = cause.response.status_code if cause is not None and cause.response is not None else None
    if _is_about_room(status, said):
        return f"{repo_id}: no room left on the Hub ({said}); free some, or choose another --hub, and run it again"
    if status in (401, 403):
        return f"{repo_id}: the Hub refused the token ({said}); {_TOKEN_HELP}, and see that it may write to {repo_id}"
    if status == 404:
        return f"{repo_id}: no such repository, or the token may not see it; {_TOKEN_HELP}"
    return f"{repo_id}: the upload stopped ({said}); what arrived is kept, run it again to go on"


def _is_about_room(status: int | None, said: str) -> bool:
    return status in (402, 413, 507) or any(word in said.lower() for word in ("quota", "storage limit", "exceeded"))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _http_cause(error: BaseException) -> HfHubHTTPError | None:
    """The Hub's answer behind an error of its library, if it was one."""
    return next((each for each in _chain(error) if isinstance(each, HfHubHTTPError)), None)


def _server_message(error: HfHubHTTPError) -> str:
    status = f"HTTP {error.response.status_code}" if error.response is not None else ""
    said = " ".join((error.server_message or "").split())
    return f"{status}: {said}" if status and said else status or said or _first_line(error)


def _is_transient(error: BaseException) -> bool:
    cause = _http_cause(error)
    if cause is not None and cause.response is not None:
        return cause.response.status_code in _TRANSIENT and not _is_about_room(None, _server_message(cause))
    return any(isinstance(each, HTTPError) for each in _chain(error))  # a connection that was refused or cut


def _wait_s(error: BaseException, attempt: int) -> int:
    cause = _http_cause(error)
    asked = cause.response.headers.get("Retry-After", "") if cause is not None and cause.response is not None else ""
    return min(int(asked) if asked.isdigit() else 2**attempt, _LONGEST_WAIT_S)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def trusted_publishing(repo_id: str) -> None:
    """Lets the Hub's library get a short-lived token from GitHub when there is no HF_TOKEN in a workflow.

    Source: the Hub's trusted publishers; the library reads `HF_OIDC_RESOURCE`.
    """
    if not os.environ.get("HF_TOKEN") and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        os.environ["HF_OIDC_RESOURCE"] = repo_id
