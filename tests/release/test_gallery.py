"""`systems/gallery.json`: every entry is what its files say and fits its agents, and no shipped links are missing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.release.gallery import check_entry, gallery_text, share_entry
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of
from recursivemas.system.hub import checkpoint_of
from recursivemas.system.links_file import load_links
from recursivemas.system.shared_links import GalleryEntry, load_gallery
from recursivemas.system.system import load_system
from recursivemas.training.trained_with import check_trained_with

ROOT = Path(__file__).parents[2]
SYSTEMS = ROOT / "systems"
LIST = SYSTEMS / "gallery.json"
GALLERY = load_gallery(LIST)
EVIDENCE = [ROOT / "docs/evidence"]
MEND = "run `rmas links gallery systems/gallery.json --measured docs/evidence`"


@pytest.mark.parametrize("entry", GALLERY.entries, ids=lambda entry: entry.record.system)
def test_entry_is_what_its_files_say_and_fits_its_agents(entry: GalleryEntry) -> None:
    links = SYSTEMS / entry.links
    assert links.stat().st_size == entry.record.links.size_bytes, MEND
    assert sha256_of(links) == entry.record.links.sha256, MEND
    sizes = {agent.id: agent.hidden_size for agent in entry.record.agents}
    load_links(links).check_fits(sizes, {edge.id: (edge.source, edge.target) for edge in entry.record.edges})
    if not all(checkpoint_of(agent).is_local for agent in load_system(SYSTEMS / entry.system).agents):
        return  # some of its agents are not in the repository; `rmas links gallery --check` compares them too
    share = share_entry(SYSTEMS, entry, EVIDENCE)
    check_entry(entry, share, LIST)
    check_trained_with(share.system, share.links, links, entry.record.trained.agents_changed)


def test_every_shipped_link_file_has_an_entry() -> None:
    shipped = {path.relative_to(SYSTEMS).as_posix() for path in SYSTEMS.glob("links/*.recursivelink.json")}
    assert {entry.links for entry in GALLERY.entries} == shipped, (
        "run `rmas links gallery systems/gallery.json --add systems/NAME.yaml --links … --license apache-2.0 "
        "--measured docs/evidence`"
    )
    assert LIST.read_text(encoding="utf-8") == gallery_text(GALLERY)


def made(folder: Path, name: str = "drift-sequential") -> Path:
    """A folder of systems with a list of one entry."""
    for each in ("agents", "links", "data", f"{name}.yaml"):
        (folder / each).symlink_to(SYSTEMS / each)
    entries = [each for each in json.loads(LIST.read_text())["entries"] if each["record"]["system"] == name]
    path = folder / "gallery.json"
    path.write_text(json.dumps({"format": "recursivemas.gallery", "version": 1, "entries": entries}))
    return path


def run(*words: object) -> str:
    """What `rmas links gallery` prints, or the line that it ends with."""
    result = CliRunner().invoke(app, ["links", "gallery", *map(str, words)])
    if result.exception is None:
        return result.stdout
    assert isinstance(result.exception, InputError), result.exception
    return str(result.exception)


def test_check_finds_what_differs_and_writing_mends_it(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert run(path, "--check", "--measured", EVIDENCE[0]) == f"{path}: 1 entries\n"
    changed = json.loads(path.read_text())
    changed["entries"][0]["record"]["links"]["sha256"] = "0" * 64
    path.write_text(json.dumps(changed))
    assert "the entry 'drift-sequential' has another 'links' than" in run(path, "--check", "--measured", EVIDENCE[0])
    assert run(path, "--measured", EVIDENCE[0]) == f"{path}: 1 entries\n"
    assert load_gallery(path).entries[0] in GALLERY.entries


def test_an_entry_is_added_only_if_it_fits(tmp_path: Path) -> None:
    path = made(tmp_path)
    (tmp_path / "hop-sequential.yaml").symlink_to(SYSTEMS / "hop-sequential.yaml")
    links = tmp_path / "links/drift-sequential.recursivelink.json"
    said = run(path, "--add", tmp_path / "hop-sequential.yaml", "--links", links, "--license", "mit")
    assert "was trained for the system 'drift-sequential', not for 'hop-sequential'" in said
    assert "go together" in run(path, "--add", tmp_path / "hop-sequential.yaml")
    assert "--check writes nothing" in run(
        path, "--check", "--add", tmp_path / "hop-sequential.yaml", "--links", links, "--license", "mit"
    )
    assert len(load_gallery(path).entries) == 1


def test_a_list_with_a_path_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    changed = json.loads(path.read_text())
    changed["entries"][0]["system"] = "../hop-sequential.yaml"
    path.write_text(json.dumps(changed))
    assert "expected a path below" in run(path, "--check")
