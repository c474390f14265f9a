"""Reads measurements of a system for its manifest: reports of `rmas eval`, and of `python -m bench` parity and answers.

A report is a JSON object. Its `system` is the system's name, and its `links_sha256` identifies the link file that was
measured, so that a model card never shows the figures of other links. Single answers are left out: the page downloads
the manifest before it shows anything, and the answers to hundreds of questions are many times as large as the rest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, sha256_of
from recursivemas.system.progress import Say, silent

_WHAT = "report; `rmas eval --out` writes one"


def measured_reports(paths: Sequence[Path], system: str, links: Path, say: Say = silent) -> dict[str, Any]:
    """Reads the reports about one system.

    Args:
        paths: Reports, or folders; a folder's reports about other systems are skipped.
        system: The system's name.
        links: The link file that is built in.
        say: Called with one line for each report in a folder that is left out, because it measured other links.

    Returns:
        The reports by the name of their file, without its suffix; none has the single answers.

    Raises:
        InputError: A report among `paths` is missing, broken, or about another system or other links.
    """
    digest = sha256_of(links)
    found: dict[str, Any] = {}
    for path, report in _reports(paths, system):
        if report.get("links_sha256") != digest:
            problem = f"{path}: not measured with the links of {links} (its key 'links_sha256' says so); measure again"
            if path in paths:
                raise InputError(problem)
            say(f"{problem}, it is left out")
            continue
        found[path.stem] = _without_answers(report)
    return found


def _without_answers(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report. Answers stand in each cell of `rmas eval`, and at the top of `bench answers`."""
    kept = {key: value for key, value in report.items() if key != "answers"}
    if isinstance(kept.get("cells"), list):
        kept["cells"] = [_without_answers(cell) if isinstance(cell, dict) else cell for cell in kept["cells"]]
    return kept


def _reports(paths: Sequence[Path], system: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in paths:
        if path.is_dir():
            every = ((each, read_json(each, _WHAT)) for each in sorted(path.glob("*.json")))
            yield from ((each, report) for each, report in every if _is_about(report, system))
            continue
        report = read_json(path, _WHAT)
        if not _is_about(report, system):
            raise InputError(f"{path}: not a report about the system {system!r} (its key 'system' says otherwise)")
        yield path, report


def _is_about(report: object, system: str) -> bool:
    return isinstance(report, dict) and report.get("system") == system
