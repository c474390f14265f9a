import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.errors import InputError
from recursivemas.training.tasks.hub_data import hub_records, records_of_rows


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the hub client would download; nothing here reaches the hub."""

    def download(name: str, repo_type: str, allow_patterns: list[str]) -> str:
        assert (name, repo_type, allow_patterns) == ("someone/things", "dataset", ["*.jsonl"])
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return tmp_path


def test_hub_records_reads_the_wanted_split_and_config(folder: Path) -> None:
    for file in ("easy/train", "easy/test", "hard/test"):
        (folder / f"{file}.jsonl").parent.mkdir(exist_ok=True)
        (folder / f"{file}.jsonl").write_text(json.dumps({"question": file, "answer": "1"}) + "\n")
    assert hub_records("someone/things")[0].question == "easy/test"
    assert hub_records("someone/things:train")[0].question == "easy/train"
    assert hub_records("someone/things/hard")[0].question == "hard/test"


def test_hub_records_joins_shards_and_takes_the_split_by_its_whole_name(folder: Path) -> None:
    for file in ("latest", "hard_test", "test-00001-of-00002", "test-00000-of-00002", "train"):
        (folder / f"{file}.jsonl").write_text(json.dumps({"question": file, "answer": "1"}) + "\n")
    questions = [record.question for record in hub_records("someone/things")]
    assert questions == ["test-00000-of-00002", "test-00001-of-00002"]
    assert [record.question for record in hub_records("someone/things:hard_test")] == ["hard_test"]


def test_hub_records_maps_columns_of_jsonl_as_of_other_formats(folder: Path) -> None:
    rows = [
        {"problem": "2 + 2?", "solution": "count", "answer": "4", "level": 1},
        {"question": "Which?", "choices": ["a", "b"], "answer": 1, "group": "easy"},
    ]
    (folder / "test.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    first, second = hub_records("someone/things")
    assert (first.question, first.answer) == ("2 + 2?", "4")
    assert (second.answer, second.choices, second.group) == ("b", ("a", "b"), "easy")


@pytest.mark.parametrize(("text", "message"), [("{", "test.jsonl:1: not valid JSON"), ("[1]", "expected an object")])
def test_hub_records_names_the_broken_line(folder: Path, text: str, message: str) -> None:
    (folder / "test.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        hub_records("someone/things")


def test_hub_records_out_of_reach_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError, match=r"neither a file nor an available hub data set: no route$"):
        hub_records("someone/things")


def test_hub_records_of_other_formats_come_from_the_datasets_library(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'recursivemas\[data\]'"):
        hub_records("someone/things")
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return [{"question": "2 + 2?", "answer": 1, "choices": ["3", "4"], "level": 9}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    (record,) = hub_records("someone/things/main:dev")
    assert (record.answer, record.choices) == ("4", ("3", "4"))
    assert asked == [("someone/things", "main", "dev")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "?", "target": "!"}], r"expected columns question \(or problem\) and answer, got prompt, target"),
        ([{"question": "?", "answer": 2, "choices": ["a", "b"]}], "answer 2 is no index of 2 choices"),
        ([], "holds no questions"),
    ],
)
def test_records_of_rows_refuses_other_tables(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        records_of_rows(rows, "someone/things")
