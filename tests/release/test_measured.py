"""Which measurements a build keeps: those about this system and these links."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.release.measured import measured_reports
from recursivemas.system.errors import InputError


@pytest.fixture
def links(tmp_path: Path) -> Path:
    path = tmp_path / "recursivelink.json"
    path.write_text("{}")
    return path


def write(folder: Path, name: str, **report: Any) -> Path:
    """A report in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(report))
    return path


def test_reports_about_this_system_are_taken_from_a_folder(links: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(links.read_bytes()).hexdigest()
    folder = tmp_path / "evidence"
    write(folder, "accuracy", system="walk", links_sha256=digest, cells=[])
    write(folder, "parity", system="walk", links_sha256=digest)
    write(folder, "of-another", system="run")
    write(folder, "of-nothing", command="python -m bench convert")
    (folder / "list.json").write_text("[]")
    assert sorted(measured_reports([folder], "walk", links)) == ["accuracy", "parity"]


def test_single_answers_are_left_out_because_the_page_downloads_the_manifest_first(links: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(links.read_bytes()).hexdigest()
    answers = [{"question": "who?", "answer": "nobody", "correct": False}] * 500
    cells = [{"mode": "latent", "accuracy": 0.5, "answers": answers}, {"mode": "text", "accuracy": 0.6}]
    folder = tmp_path / "evidence"
    write(folder, "accuracy", system="walk", links_sha256=digest, cells=cells)
    write(folder, "answers", system="walk", links_sha256=digest, product={"right": 250}, answers=answers)
    found = measured_reports([folder], "walk", links)
    assert found["accuracy"]["cells"] == [{"mode": "latent", "accuracy": 0.5}, {"mode": "text", "accuracy": 0.6}]
    assert found["answers"] == {"system": "walk", "links_sha256": digest, "product": {"right": 250}}


def test_report_that_is_named_must_be_about_this_system(links: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "evidence", "accuracy", system="run")
    with pytest.raises(InputError, match="not a report about the system 'walk'"):
        measured_reports([path], "walk", links)
    with pytest.raises(InputError, match="no such report"):
        measured_reports([tmp_path / "nowhere.json"], "walk", links)


@pytest.mark.parametrize("said", [{"links_sha256": "0" * 64}, {}], ids=["other links", "no links named"])
def test_report_about_other_links_is_never_shown(links: Path, tmp_path: Path, said: dict[str, str]) -> None:
    path = write(tmp_path / "evidence", "accuracy", system="walk", **said)
    with pytest.raises(InputError, match="not measured with the links of"):
        measured_reports([path], "walk", links)
    lines: list[str] = []
    assert measured_reports([path.parent], "walk", links, lines.append) == {}
    assert len(lines) == 1 and "measure again, it is left out" in lines[0]
