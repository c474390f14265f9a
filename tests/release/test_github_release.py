"""`rmas publish --release`: what is packed, and what `gh` is asked to do."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.release import release_assets
from recursivemas.release.release_assets import GITHUB_LIMIT_BYTES, PART_BYTES, pack_assets, packed_assets
from recursivemas.release.release_folder import check_release_folder
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import VariantRecord

from .made_system import make_system


class Gh:
    """The stand-in's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults([])
        (root / "log.json").write_text("[]")

    def faults(self, faults: list[tuple[str, str]]) -> None:
        """Errors to give to commands that begin so."""
        (self.root / "faults.json").write_text(json.dumps(faults))

    def release(self, tag: str = "v1") -> dict[str, Any]:
        """What `gh release view` knows of a release itself."""
        data: dict[str, Any] = json.loads((self.root / tag / ".release").read_text())
        return data

    def assets(self, tag: str = "v1") -> dict[str, bytes]:
        """Attached files."""
        return {path.name: path.read_bytes() for path in (self.root / tag).iterdir() if path.name != ".release"}

    def uploads(self) -> list[str]:
        """Names of files that were sent, in order."""
        return [Path(line[3]).name for line in json.loads((self.root / "log.json").read_text()) if line[1] == "upload"]


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gh:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "gh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("gh_stand_in.py")} "$@"\n')
    program.chmod(0o755)
    state = tmp_path / "github"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("GH_STAND_IN", str(state))
    monkeypatch.setenv("GH_TOKEN", "token")
    monkeypatch.setattr("time.sleep", lambda _: None)
    return Gh(state)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return make_system(tmp_path / "walk")


def publish(system: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["publish", str(system), "--release", "v1", *options])
    return result.exit_code, result.output if result.exception is None else str(result.exception)


def test_release_holds_the_system_and_its_sums(gh: Gh, system: Path, tmp_path: Path) -> None:
    code, output = publish(system)
    assert code == 0, output
    assert "https://github.example/releases/v1" in output
    assert gh.release()["isDraft"] is False
    label = check_release_folder(system).label
    assets = gh.assets()
    assert set(assets) == {f"{label}.zip", f"{label}.md", f"{label}.sha256"}
    sums = dict(reversed(line.split("  ")) for line in assets.pop(f"{label}.sha256").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in assets.items()}
    (tmp_path / "a.zip").write_bytes(assets[f"{label}.zip"])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "out")
    check_release_folder(tmp_path / "out" / "walk")


def test_release_again_sends_nothing(gh: Gh, system: Path) -> None:
    publish(system)
    sent = gh.uploads()
    assert publish(system)[0] == 0
    assert gh.uploads() == sent


def test_only_what_the_workflow_attested_is_published(gh: Gh, system: Path, tmp_path: Path) -> None:
    out = tmp_path / "assets"
    options = ["--assets", str(out), "--attested", "owner/repository"]
    signer = "owner/repository/.github/workflows/build-system.yml"
    asked = {"--repo": "owner/repository", "--signer-workflow": signer}

    def attest(*files: Path) -> None:
        sums = {hashlib.sha256(path.read_bytes()).hexdigest(): asked for path in files}
        (gh.root / "attested.json").write_text(json.dumps(sums))

    attest()
    manifest = system / "system.json"
    code, said = publish(system, *options)
    assert (code, said.startswith(f"{manifest}: no attestation of owner/repository")) == (1, True), said
    assert gh.uploads() == [] and not out.exists()
    attest(manifest)
    code, said = publish(system, *options)
    label = check_release_folder(system).label
    assert (code, said.startswith(f"{out / label}.zip: no attestation")) == (1, True), said
    assert gh.uploads() == []
    attest(manifest, *out.iterdir())
    code, said = publish(system, *options)
    assert code == 0 and "owner/repository attests system.json" in said
    (system / "recursivelink.json").write_text("{}")
    assert "recursivelink.json" in publish(system, *options)[1], "the attested manifest has the sha256 of the links"
    links = make_system(tmp_path / "other", seed=1)
    assert "system.json: no attestation" in publish(links, *options)[1], "links of somebody else come with a manifest"
    for wrong in ("owner", "", "https://github.com/owner/repository"):
        assert "expected OWNER/NAME" in publish(system, "--attested", wrong)[1]


def test_release_of_another_build_has_other_names(gh: Gh, system: Path, tmp_path: Path) -> None:
    publish(system)
    first = set(gh.assets())
    publish(make_system(tmp_path / "newer", seed=1))
    assert len(gh.assets()) == 2 * len(first)


def test_label_tells_quantizations_apart(system: Path) -> None:
    release = check_release_folder(system)
    sha = release.record.sha256[:12]
    assert release.label == f"walk-q4f32_1-{sha}"
    own = release.manifest
    half = tuple(agent.model_copy(update={"quantization": "q4f16_1"}) for agent in own.agents)
    both = own.model_copy(update={"variants": (VariantRecord(quantization="q4f16_1", agents=half, memory_bytes=1),)})
    assert replace(release, manifest=own.model_copy(update={"agents": half})).label == f"walk-q4f16_1-{sha}"
    assert replace(release, manifest=both).label == f"walk-q4f32_1-q4f16_1-{sha}"


@pytest.mark.parametrize(
    "error", ["HTTP 500: Internal error", "HTTP 429: secondary rate limit", "half: connection reset by peer"]
)
def test_release_survives_a_passing_fault(gh: Gh, system: Path, error: str) -> None:
    gh.faults([("release upload", error)])
    assert publish(system)[0] == 0
    label = check_release_folder(system).label
    assert set(gh.assets()) == {f"{label}.zip", f"{label}.md", f"{label}.sha256"}


def test_release_that_stopped_stays_a_draft_and_a_second_run_completes(gh: Gh, system: Path) -> None:
    gh.faults([("release upload", "half: HTTP 502: Bad gateway")] * 4)
    code, output = publish(system)
    assert code != 0
    assert "run it again" in output
    assert gh.release()["isDraft"] is True
    assert publish(system)[0] == 0
    assert gh.release()["isDraft"] is False
    assert not any(name.endswith(".half") for name in gh.assets())


def finish() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["publish", "--release", "v1", "--finish"])
    return result.exit_code, result.output if result.exception is None else str(result.exception)


def test_release_of_several_systems_is_a_draft_until_it_is_finished(gh: Gh, system: Path, tmp_path: Path) -> None:
    other = make_system(tmp_path / "other", name="ride")
    for each in (system, other):
        assert publish(each, "--draft")[0] == 0
        assert gh.release()["isDraft"] is True
    code, output = finish()
    assert code == 0, output
    assert output.strip() == "https://github.example/releases/v1"
    release = gh.release()
    assert release["isDraft"] is False
    assert release["name"] == "v1", "neither system's name"
    for name, folder in (("walk", system), ("ride", other)):
        assert release["body"].count(f"## {name}, q4f32_1") == 1
        assert f"{check_release_folder(folder).label}.md" in gh.assets()


def test_release_notes_keep_what_people_wrote_and_grow_once(gh: Gh, system: Path, tmp_path: Path) -> None:
    publish(system)
    release = gh.release()
    (gh.root / "v1/.release").write_text(json.dumps({**release, "body": "By hand.\n\n" + release["body"]}))
    other = make_system(tmp_path / "ride", name="ride")
    for _ in range(2):
        assert publish(other)[0] == 0
    body = gh.release()["body"]
    assert body.startswith("By hand.")
    assert body.count("## walk") == body.count("## ride") == 1
    assert "critic: owner/critic, licence llama3.2" in body


def test_finish_refuses_half_a_system(gh: Gh, system: Path) -> None:
    assert "no release v1" in finish()[1]
    sums = f"{check_release_folder(system).label}.sha256"
    gh.faults([("release upload", "HTTP 422: no")])
    publish(system, "--draft")
    assert "nothing is attached" in finish()[1]
    publish(system, "--draft")
    (gh.root / "v1" / sums).unlink()
    code, output = finish()
    assert code != 0
    assert "has not arrived whole" in output
    assert gh.release()["isDraft"] is True
    publish(system, "--draft")
    assert finish()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--release", "v1"], "nothing to publish"),
        (["--finish"], "rmas publish --release TAG --finish"),
        (["dist/walk", "--release", "v1", "--finish"], "sends nothing"),
        (["dist/walk", "--hub", "owner/walk", "--draft"], "--draft is about a GitHub Release"),
    ],
)
def test_draft_and_finish_refuse_what_makes_no_sense(arguments: list[str], said: str) -> None:
    assert said in str(CliRunner().invoke(app, ["publish", *arguments]).exception)


def test_release_with_a_token_that_may_only_read_says_so(gh: Gh, system: Path) -> None:
    gh.faults([("release create", "HTTP 403: Resource not accessible by integration")])
    code, output = publish(system)
    assert code != 0
    assert "contents: write" in output


def test_release_without_a_token_says_so(gh: Gh, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GH_TOKEN")
    code, output = publish(system)
    assert code != 0
    assert "set GH_TOKEN" in output


def test_release_without_gh_says_so(system: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "the gh command is missing" in publish(system)[1]


def test_pack_is_the_same_bytes_twice(system: Path, tmp_path: Path) -> None:
    packed = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        packed.append([(asset.path.name, asset.sha256) for asset in pack_assets(check_release_folder(system), out)])
    assert packed[0] == packed[1]


def test_pack_splits_what_is_too_large_and_cat_joins_it(system: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    release = check_release_folder(system)
    archive = pack_assets(release, whole)[0]
    split = [asset for asset in pack_assets(release, parts, part_bytes=700_000) if ".zip." in asset.path.name]
    assert len(split) == -(-archive.size_bytes // 700_000) > 1
    assert [asset.path.name for asset in split] == sorted(f"{release.label}.zip.{n + 1:03d}" for n in range(len(split)))
    joined = subprocess.run(["cat", *(asset.path for asset in split)], capture_output=True, check=True).stdout
    assert hashlib.sha256(joined).hexdigest() == archive.sha256
    assert PART_BYTES < GITHUB_LIMIT_BYTES
    check = subprocess.run(["sha256sum", "--check", f"{release.label}.sha256"], cwd=parts, capture_output=True)
    assert check.returncode == 0, check.stderr


def test_release_takes_the_files_that_were_packed_before(gh: Gh, system: Path, tmp_path: Path) -> None:
    out = tmp_path / "assets"
    assert publish(system, "--assets", str(out), "--dry-run")[0] == 0
    label = check_release_folder(system).label
    archive = out / f"{label}.zip"
    with zipfile.ZipFile(archive, "a") as changed:  # as if another zlib had packed it
        changed.comment = b"attested"
    sums = out / f"{label}.sha256"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums.write_text(re.sub(r"\w+(?=  \S+\.zip\n)", digest, sums.read_text()))
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    code, output = publish(system, "--assets", str(out))
    assert code == 0, output
    assert gh.assets() == kept
    archive.write_bytes(archive.read_bytes()[:-1])
    assert packed_assets(check_release_folder(system), out) == [], "broken, so made again"
    (out / f"{label}.md").unlink()
    assert packed_assets(check_release_folder(system), out) == []


@pytest.mark.parametrize("place", ["_add", "_copy"])
def test_pack_on_a_full_disk_leaves_nothing_and_says_so(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    whole = getattr(release_assets, place)
    calls: list[object] = []

    def fail_later(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(*arguments)

    monkeypatch.setattr(release_assets, place, fail_later)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs.txt").touch()
    with pytest.raises(InputError, match=r"out: walk-.* cannot be packed there \(No space left on device\)") as caught:
        pack_assets(check_release_folder(system), tmp_path / "out", part_bytes=300_000)
    assert "\n" not in str(caught.value)
    assert len(calls) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs.txt"]
