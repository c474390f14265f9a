"""Attaches a system's files to a GitHub Release with the `gh` command.

A new release stays a draft until everything is attached, so nobody sees an incomplete one; a release of several systems
stays a draft until `finish_release`. Assets with the same content are left alone, and broken ones are replaced. Text is
only added to the notes, so what people wrote there stays.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recursivemas.release.release_assets import GITHUB_LIMIT_BYTES, Asset
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Say

_ATTEMPTS = 4
_LABELLED = re.compile(r"(.+-[0-9a-f]{12})\.")  # a file of a system; the sums are attached last
_TRANSIENT = ("HTTP 429", "HTTP 5", "timeout", "timed out", "connection", "EOF", "rate limit", "broken pipe")


def publish_to_release(
    tag: str, assets: Sequence[Asset], *, label: str, notes: str, draft: bool, say: Say
) -> Iterator[str]:
    """Attaches a system's assets to the release of a tag and adds the system to its notes.

    Args:
        tag: The release's tag, of the repository that the working folder is a clone of (or `GH_REPO`).
        assets: What to attach.
        label: If the notes contain this word, they describe the system already.
        notes: Markdown to add to the notes.
        draft: Leave a draft a draft, because more systems follow before `finish_release`.
        say: Called with one line before each step.

    Yields:
        The release's address.

    Raises:
        InputError: `gh` is missing or not logged in, or GitHub refuses or stays out of reach. Run it again to go on.
    """
    need_gh()
    for asset in assets:
        if asset.size_bytes >= GITHUB_LIMIT_BYTES:
            raise InputError(f"{asset.path.name}: {asset.size_bytes} bytes, a GitHub asset must be below 2 GiB")
    release = _view(tag)
    if release is None:
        say(f"Creating a draft of the release {tag}")
        _with_notes(["release", "create", tag, "--draft", "--title", tag], notes, say)
        release = _view(tag)
        if release is None:
            raise InputError(f"GitHub created the release {tag} but does not show it; run it again")
    there = {each["name"]: each for each in release.get("assets", [])}
    missing = [asset for asset in assets if not _is_there(asset, there.get(asset.path.name))]
    say(f"{len(missing)} of {len(assets)} files to attach")
    for asset in missing:
        say(f"Attaching {asset.path.name}, {asset.size_bytes / 1e6:.1f} MB")
        _gh(["release", "upload", tag, str(asset.path), "--clobber"], say)
    arrived = _view(tag) or {}
    there = {each["name"]: each for each in arrived.get("assets", [])}
    for asset in assets:
        if not _is_there(asset, there.get(asset.path.name)):
            raise InputError(f"release {tag}: {asset.path.name} did not arrive whole; run it again")
    body = arrived.get("body") or ""
    if label not in body:
        _with_notes(["release", "edit", tag], f"{body.rstrip()}\n\n{notes}", say)
    if not draft:
        _make_public(tag, arrived, say)
    elif not arrived.get("isDraft"):
        say(f"The release {tag} was public already")
    yield str((_view(tag) or {}).get("url", tag))


def finish_release(tag: str, *, say: Say) -> Iterator[str]:
    """Makes a draft public after every system has been attached to it.

    Args:
        tag: The release's tag.
        say: Called with one line before each step.

    Yields:
        The release's address.

    Raises:
        InputError: There is no such release, it is empty, or a system in it is incomplete.
    """
    need_gh()
    release = _view(tag)
    if release is None:
        raise InputError(f"no release {tag} to finish; publish a system to it first: rmas publish DIR --release {tag}")
    whole = {each["name"] for each in release.get("assets", []) if each.get("state", "uploaded") == "uploaded"}
    if not whole:
        raise InputError(f"release {tag}: nothing is attached; publish a system to it first")
    for name in sorted({each["name"] for each in release["assets"]}):
        label = _LABELLED.match(name)
        if label and (name not in whole or f"{label[1]}.sha256" not in whole):
            raise InputError(f"release {tag}: {label[1]} has not arrived whole; publish that system again, then finish")
    _make_public(tag, release, say)
    yield str((_view(tag) or {}).get("url", tag))


def need_gh() -> None:
    """Checks that the gh command is there.

    Raises:
        InputError: It is not.
    """
    if shutil.which("gh") is None:
        raise InputError("the gh command is missing; install it from https://cli.github.com and run 'gh auth login'")


def _make_public(tag: str, release: Mapping[str, Any], say: Say) -> None:
    if release.get("isDraft"):
        _gh(["release", "edit", tag, "--draft=false"], say)


def _is_there(asset: Asset, found: Mapping[str, Any] | None) -> bool:
    if found is None or found.get("size") != asset.size_bytes or found.get("state", "uploaded") != "uploaded":
        return False
    digest = found.get(
        "digest"
    )  # older versions of gh do not show it; the file's name contains a hash of the content anyway
    return not digest or digest == f"sha256:{asset.sha256}"


def _view(tag: str) -> dict[str, Any] | None:
    result = run_gh(["release", "view", tag, "--json", "tagName,isDraft,url,body,assets"])
    if result.returncode == 0:
        found: dict[str, Any] = json.loads(result.stdout)
        return found
    if "release not found" in result.stderr.lower() or "HTTP 404" in result.stderr:
        return None
    raise _refused(result)


def _with_notes(arguments: Sequence[str], notes: str, say: Say) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notes.md"
        file.write_text(notes, encoding="utf-8")
        _gh([*arguments, "--notes-file", str(file)], say)


def _gh(arguments: Sequence[str], say: Say) -> None:
    """Runs gh, and tries again after a temporary fault.

    Raises:
        InputError: gh failed; the message quotes it.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        result = run_gh(arguments)
        if result.returncode == 0:
            return
        passing = any(sign.lower() in result.stderr.lower() for sign in _TRANSIENT)
        if not passing or attempt == _ATTEMPTS:
            raise _refused(result)
        say(f"{said_by(result)}; trying again in {2**attempt} s")
        time.sleep(2**attempt)


def run_gh(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Runs gh once; what it says is kept."""
    return subprocess.run(["gh", *arguments], capture_output=True, text=True, check=False)


def said_by(result: "subprocess.CompletedProcess[str]") -> str:
    """The first line of what gh said, or its status."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return lines[0] if lines else f"gh ended with status {result.returncode}"


def _refused(result: "subprocess.CompletedProcess[str]") -> InputError:
    said = said_by(result)
    lower = (result.stderr or "").lower()
    if "gh_token" in lower or "gh auth login" in lower or "http 401" in lower:
        return InputError(f"gh is not logged in ({said}); run 'gh auth login' or set GH_TOKEN")
    if "http 403" in lower:
        return InputError(f"GitHub refused ({said}); the token needs 'contents: write' on the repository")
    return InputError(f"gh failed ({said}); what was attached is kept, run it again to go on")
