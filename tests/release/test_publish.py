"""What `rmas publish` refuses, what a dry run says, what the card says."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.release.model_card import model_card
from recursivemas.release.release_folder import check_release_folder
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import VariantRecord

from .made_system import make_system


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return make_system(tmp_path / "walk")


def _flip(folder: Path) -> None:
    path = folder / "agents/critic/params_shard_0.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def _append(folder: Path) -> None:
    with (folder / "recursivelink.json").open("a") as stream:
        stream.write(" ")


def _link(folder: Path) -> None:
    path = folder / "recursivelink.json"
    path.rename(folder.parent / "elsewhere.json")
    path.symlink_to(folder.parent / "elsewhere.json")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed shard": (_flip, "its sha256 is"),
    "longer file": (_append, "bytes, system.json says"),
    "missing file": (lambda f: (f / "agents/critic/params_shard_0.bin").unlink(), "missing, but system.json lists it"),
    "unlisted file": (lambda f: (f / "agents/notes.txt").write_text("x"), "notes.txt: not listed in system.json"),
    "hidden file": (lambda f: (f / ".env").write_text("TOKEN=x"), r"\.env: not listed"),
    "symbolic link": (_link, "a symbolic link"),
    "no manifest": (lambda f: (f / "system.json").unlink(), "no such manifest"),
    "not JSON": (lambda f: (f / "system.json").write_text("{"), "not valid JSON"),
    "newer manifest": (
        lambda f: (f / "system.json").write_text(
            (f / "system.json").read_text().replace('"version": 1', '"version": 2', 1)
        ),
        "newer than this program",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("where", [["--hub", "owner/walk"], ["--release", "v1"]], ids=["hub", "release"])
def test_publish_refuses_a_folder_that_does_not_match_its_manifest(
    system: Path, spoil: Callable[[Path], object], said: str, where: list[str]
) -> None:
    spoil(system)
    result = CliRunner().invoke(app, ["publish", str(system), *where, "--dry-run"])
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)
    with pytest.raises(InputError, match=said):
        check_release_folder(system)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nowhere to publish"),
        (["--hub", ""], "repository variable HUB_NAMESPACE"),
        (["--hub", "/walk-q4f16_1"], "repository variable HUB_NAMESPACE"),
        (["--release", " "], "--release is empty"),
    ],
)
def test_publish_names_what_is_missing(system: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["publish", str(system), *arguments])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a dry run used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_dry_run_lists_every_file_that_would_go_to_the_hub(system: Path, no_network: None) -> None:
    result = CliRunner().invoke(app, ["publish", str(system), "--hub", "owner/walk", "--dry-run"])
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert "https://huggingface.co/owner/walk/resolve/main/" in head
    said = {path: (int(size), digest) for path, size, _, digest in map(str.split, lines)}
    files = {path.relative_to(system).as_posix(): path.read_bytes() for path in system.rglob("*") if path.is_file()}
    card = said.pop("README.md")
    assert said == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    assert card[1] == "generated"


def test_dry_run_lists_the_assets_of_a_release_and_keeps_them(system: Path, no_network: None, tmp_path: Path) -> None:
    out = tmp_path / "assets"
    arguments = ["publish", str(system), "--release", "v1", "--assets", str(out), "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    said = {name: (int(size), digest) for name, size, _, digest in map(str.split, result.stdout.splitlines()[1:])}
    kept = {path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in out.iterdir()}
    assert said == kept
    assert len(kept) >= 2


def test_dry_run_leaves_nothing_behind(system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path for path in tmp_path.rglob("*"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    CliRunner().invoke(app, ["publish", str(system), "--release", "v1", "--hub", "owner/walk", "--dry-run"])
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_card_names_models_licences_links_and_what_was_not_measured(system: Path) -> None:
    release = check_release_folder(system)
    card = ModelCard(
        model_card(release, "https://huggingface.co/owner/walk/resolve/main"), ignore_metadata_errors=False
    )
    data = card.data.to_dict()
    assert data["base_model"] == ["Qwen/Qwen3-0.6B", "owner/critic"]
    assert data["license"] == "other", "the agents' licences differ"
    for text in (
        "llama3.2",
        "not declared",
        "q4f32_1",
        "seed: 7",
        "Neither accuracy nor parity",
        "CreateMLCEngine",
        "loadSystem",
        "?system=https://huggingface.co/owner/walk/resolve/main/system.json",
        release.record.sha256,
    ):
        assert text in card.text, text


def test_card_shows_what_was_measured(system: Path) -> None:
    release = check_release_folder(system)
    cell = {"mode": "latent", "control": "none", "rounds": 3, "latent_steps": 2, "accuracy": 0.9375}
    cell |= {"low": 0.8, "high": 0.98, "decoded_tokens": 1.0, "questions": 64}
    report = {"system": "walk", "data": "test.jsonl", "seed": 0, "cells": [cell]}
    row = {"questions": 20, "largest_relative_error": 2.5e-4, "same_answers": 20, "same_as_unquantized": 19}
    parity = {"system": "walk", "where": "Chromium against PyTorch", "parity": {"q4f32_1": row}}
    answers = {"system": "walk", "questions": 100, "rounds": 2, "same_answers": 97, "where": "Node against PyTorch"}
    answers |= {"product": {"right": 82, "low": 0.7, "high": 0.9}, "pytorch": {"right": 83, "low": 0.7, "high": 0.9}}
    reports = {"eval": report, "bench-parity": parity, "bench-answers": answers, "by hand": {"phones": 3}}
    provenance = {**release.manifest.provenance, "measured": reports}
    measured = release.manifest.model_copy(update={"provenance": provenance})
    card = model_card(type(release)(release.folder, measured, release.record), "https://example.org/walk")
    assert "| latent | none | 3 | 2 | 0.938 | 0.800 to 0.980 | 1.0 | 64 |" in card
    assert "seed 0, in PyTorch, with unquantized weights." in card
    assert "| q4f32_1 | 2.5e-04 | 20 of 20 | 19 of 20 |" in card
    assert (
        "`bench-answers`: of 100 questions of the task, 2 rounds each, the built agents answer 82 right and PyTorch "
        "83; 97 answers are the same (Node against PyTorch)." in card
    )
    assert "phones: 3" in card
    assert "Neither accuracy" not in card


def test_card_says_which_weights_were_trained_and_measured_with_and_names_adapters(system: Path) -> None:
    release = check_release_folder(system)
    assert "They were trained with unquantized weights." in model_card(release, "https://example.org/walk")
    own = release.manifest.provenance
    cell = {"mode": "latent", "accuracy": 0.9, "low": 0.8, "high": 1.0, "decoded_tokens": 1.0}
    adapter = {"adapter": "adapters/walk", "revision": None, "sha256": "abcdef012345" + "0" * 52}
    checkpoints = {**own["checkpoints"], "critic": {**own["checkpoints"]["critic"], "adapter": adapter}}
    provenance = {
        **own,
        "checkpoints": checkpoints,
        "links": {"seed": 7, "training": {"weights": "dequantised"}},
        "measured": {"eval": {"data": "test.jsonl", "seed": 0, "weights": "dequantised", "cells": [cell]}},
    }
    quantised = release.manifest.model_copy(update={"provenance": provenance})
    card = model_card(type(release)(release.folder, quantised, release.record), "https://example.org/walk")
    assert "in PyTorch, with the weights that the build stores, dequantised." in card
    assert "They were trained with the weights that the build stores, dequantised." in card
    assert "unquantized" not in card
    assert "at `bbbbbbbbbbbb` | adapters/walk, `abcdef012345` | llama3.2 |" in card
    assert "at `aaaaaaaaaaaa` | none | apache-2.0 |" in card


def test_card_metadata_of_one_licence_is_that_licence(system: Path) -> None:
    release = check_release_folder(system)
    models = {agent.id: {"license": "apache-2.0"} for agent in release.manifest.agents}
    same = release.manifest.model_copy(update={"provenance": {"checkpoints": models}})
    card = model_card(type(release)(release.folder, same, release.record), "https://example.org/walk")
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "apache-2.0"


def test_card_says_which_other_weights_a_system_carries(system: Path) -> None:
    release = check_release_folder(system)
    own = release.manifest
    half = VariantRecord(quantization="q4f16_1", agents=own.agents, memory_bytes=2_000_000)
    both = own.model_copy(update={"variants": (half,)})
    card = model_card(type(release)(release.folder, both, release.record), "https://example.org/walk")
    assert "Also carried: `q4f16_1`" in card and "`shader-f16`" in card
    assert "Also carried" not in model_card(release, "https://example.org/walk")
