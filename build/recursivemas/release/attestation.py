"""Checks with the `gh` command that a workflow of a GitHub repository made the files that are about to be published.

The manifest has the sha256 of every other file of a system, so an attested manifest covers them all, links included.
Source: docs/release.md; GitHub's documentation of artifact attestations.
"""

from collections.abc import Iterable
from pathlib import Path

from recursivemas.release.github_release import need_gh, run_gh, said_by
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Say

WORKFLOW = ".github/workflows/build-system.yml"
"""The workflow that attests what it builds."""


def check_attested(files: Iterable[Path], repository: str, say: Say) -> None:
    """Checks files against the attestations of a repository.

    Args:
        files: What is to be published.
        repository: `owner/name` on GitHub.
        say: Called with one line.

    Raises:
        InputError: Names the first file that the repository's workflow did not attest, or says why nobody knows.
    """
    need_gh()
    checked = list(files)
    for path in checked:
        signer = f"{repository}/{WORKFLOW}"
        done = run_gh(["attestation", "verify", str(path), "--repo", repository, "--signer-workflow", signer])
        if done.returncode != 0:
            raise InputError(
                f"{path}: no attestation of {repository} for this file ({said_by(done)}); publish what a run of "
                "build-system made, or leave out --attested"
            )
    say(f"{repository} attests {', '.join(path.name for path in checked)}")
