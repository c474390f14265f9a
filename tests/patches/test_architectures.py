import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from recursivemas.architectures import record as architectures
from recursivemas.architectures.record import RESULTS, Outcome, check_one, load, record
from recursivemas.architectures.samples import sample_config
from recursivemas.mlc.importing import Mlc
from recursivemas.system.errors import InputError


def _mlc(version: str = "v1", **models: Any) -> Mlc:
    return Mlc(Path("nowhere"), version, models, {})


def test_record_keeps_results_of_the_same_versions(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record(path, _mlc(), [Outcome("b", "builds")])
    record(path, _mlc(), [Outcome("a", "does not build", "why")])
    versions, outcomes = load(path)
    assert versions["mlc-llm"] == "v1"
    assert [each.architecture for each in outcomes] == ["a", "b"]


def test_record_drops_results_of_other_versions(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record(path, _mlc(), [Outcome("b", "builds")])
    record(path, _mlc("v2"), [Outcome("a", "builds")])
    assert [each.architecture for each in load(path)[1]] == ["a"]


def test_load_says_how_to_record(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rmas architectures --check --record"):
        load(tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="not a record of architectures"):
        load(tmp_path / "broken.json")


def test_check_one_gives_the_reason_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a\nb" * 300)

    monkeypatch.setattr(architectures, "_build", broken)
    outcome = check_one(_mlc(llama=SimpleNamespace(model_task="chat")), "llama")
    assert outcome.status == "does not build" and not outcome.builds
    assert "\n" not in outcome.note and len(outcome.note) < 300


def test_check_one_does_not_build_what_is_no_language_model() -> None:
    assert "embedding model" in check_one(_mlc(bert=SimpleNamespace(model_task="embedding")), "bert").note


def test_recorded_results_are_consistent() -> None:
    versions, outcomes = load(RESULTS)
    assert {"mlc-llm", "apache-tvm", "transformers"} <= versions.keys()
    for each in outcomes:
        if each.status == "builds, parity checked":
            assert each.hidden_error is not None and each.logits_error is not None
            assert max(each.hidden_error, each.logits_error) <= 1e-4
        else:
            assert each.note, each.architecture


def test_sample_config_names_its_model_type() -> None:
    config = sample_config("llama")
    assert config is not None and config["model_type"] == "llama" and config["hidden_size"] == 64
    assert sample_config("nothing") is None


def test_command_lists_what_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from recursivemas.cli.architectures import architectures_command

    path = tmp_path / "results.json"
    outcomes = [
        dataclasses.replace(Outcome("gemma", "builds"), note="because"),
        Outcome("llama", "builds, parity checked"),
    ]
    record(path, _mlc(), outcomes)
    monkeypatch.setattr(architectures, "RESULTS", path)
    app = typer.Typer()
    app.command()(architectures_command)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0, result.output
    for part in ("Recorded with mlc-llm v1", "because", "2 of 2 build, 1 of them agree with transformers"):
        assert part in result.output
    assert isinstance(CliRunner().invoke(app, ["nope"]).exception, InputError)
    assert json.loads(path.read_text())["command"].startswith("rmas architectures")
