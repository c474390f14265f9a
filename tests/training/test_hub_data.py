import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.errors import InputError
from recursivemas.training.tasks.data import load_records
from recursivemas.training.tasks.hub_data import hub_records, records_of_rows
from tests.release.hub_stand_in import TOKEN, Commit, Repository, running_hub


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


def test_load_set_fetches_a_data_set_from_a_hub(tmp_path: Path) -> None:
    """The real client against the stand-in, in a process of its own, because the client reads its address once."""
    content = b'{"problem": "1 + 1?", "answer": 2}\n'
    with running_hub() as hub:
        hub.small["1"] = content
        tree = {"test.jsonl": (False, "1", len(content)), "notes.bin": (False, "2", 1)}
        hub.repositories["math-ai/aime25"] = Repository([Commit("1" * 40, "data", tree)])
        program = (
            "from recursivemas.training.evaluation.released_sets import load_set\n"
            "print([(each.record.question, each.record.answer) for each in load_set('aime25')])\n"
            "try: load_set('aime26')\n"
            "except ValueError as error: print(error)\n"
        )
        environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        fetched = [path for _, path in hub.requests]
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "[('1 + 1?', '2')]"
    assert second.startswith("data 'math-ai/aime26:test': neither a file nor an available hub data set: ")
    assert not any("notes.bin" in path for path in fetched)


def test_load_records_reads_lists_and_tables_with_their_other_columns(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps([{"question": "?", "answer": "A", "facts": "none", "year": 3}]))
    (tmp_path / "table.csv").write_text('question,answer,facts\n"Which, now?",B,some\n')
    (listed,), (row,) = (load_records(str(tmp_path / name)) for name in ("list.json", "table.csv"))
    assert (listed.answer, listed.fields) == ("A", {"facts": "none", "year": "3"})
    assert (row.question, row.answer, row.fields) == ("Which, now?", "B", {"facts": "some"})
    (tmp_path / "no.json").write_text('{"question": "?"}')
    with pytest.raises(InputError, match=r"no\.json: expected a list of objects"):
        load_records(str(tmp_path / "no.json"))
    with pytest.raises(InputError, match=r"gone\.csv: no such data file"):
        load_records(str(tmp_path / "gone.csv"))
