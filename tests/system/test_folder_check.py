"""Nothing is read through a link that leaves a folder, and a damaged download is found."""

import hashlib
import os
from pathlib import Path

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.folder_check import check_files, damaged_downloads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    (made / "additional_chat_templates").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "templates").mkdir()
    return made


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("LICENSE", "/etc/passwd", "LICENSE: is a link to /etc/passwd, which is outside"),
        ("LICENSE", "../secret", "LICENSE: is a link to ../secret"),
        ("tokenizer.json", "additional_chat_templates/../../secret", "tokenizer.json: is a link"),
        ("more", "../templates", "more: is a link to ../templates"),
        ("additional_chat_templates/a.jinja", "../../secret", "a.jinja: is a link"),
        ("LICENSE", "nowhere", "LICENSE: expected an ordinary file, found a broken link"),
    ],
)
def test_links_that_leave_the_folder_are_refused_by_name(folder: Path, name: str, target: str, words: str) -> None:
    check_files(folder)
    (folder / name).symlink_to(target)
    with pytest.raises(InputError) as refused:
        check_files(folder)
    assert words in str(refused.value)


def test_links_within_the_folder_and_to_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "generation_config.json").symlink_to("config.json")
    (tmp_path / "link").symlink_to(folder)
    check_files(tmp_path / "link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(InputError, match=r"config\.json: expected an ordinary file"):
        check_files(folder)


def snapshot_of(root: Path) -> tuple[Path, Path, Path]:
    """A folder as the hub's cache has it, with a large and a small file; returns their blobs, too."""
    large, small = b"w" * 3000, b"{}"
    blobs, snapshot = root / "blobs", root / "snapshots" / ("c" * 40)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    names = hashlib.sha256(large).hexdigest(), hashlib.sha1(b"blob 2\0" + small).hexdigest()
    for name, content, file in zip(names, (large, small), ("model.safetensors", "config.json"), strict=True):
        (blobs / name).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{name}")
    return snapshot, blobs / names[0], blobs / names[1]


def test_damaged_files_of_the_hubs_cache_are_found(tmp_path: Path) -> None:
    snapshot, large, small = snapshot_of(tmp_path)
    check_files(snapshot)
    assert damaged_downloads(snapshot) == []
    large.write_bytes(b"w" * 2999 + b"x")
    assert damaged_downloads(snapshot) == [large]
    small.write_bytes(b"[]")
    assert sorted(damaged_downloads(snapshot)) == sorted([large, small])
