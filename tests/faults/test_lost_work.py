"""Training and measuring never lose or use damaged work: they refuse it, or begin anew, and say so in one line."""

import json
import re
from pathlib import Path

import pytest
import torch

from recursivemas.system.cache import seal
from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.training.evaluation.results import Results
from recursivemas.training.evidence.jobs import append_cell, raw_record, read_cells
from recursivemas.training.train.checkpoint import load_checkpoint, save_checkpoint
from recursivemas.training.train.optimise import Run, refuse_earlier_run

LINKS = Path(__file__).parents[2] / "systems/links/hop-sequential.recursivelink.json"


class OneProcess:
    is_main_process = True
    num_processes = 1


def a_run(folder: Path, value: float = 0.0) -> Run:
    module = torch.nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(value)
    return Run(folder, module, "identity", 1, OneProcess(), lambda _phase: lambda _step, _steps: None)


def trained(folder: Path) -> Run:
    run = a_run(folder, 0.5)
    run.start(False, lambda _line: None)
    run.log(phase="first")
    run.phase("first", lambda: None)
    return run


@pytest.mark.parametrize("result", ["recursivelink.json", "adapter_model.safetensors"])
def test_an_earlier_run_is_not_trained_over(tmp_path: Path, result: str) -> None:
    refuse_earlier_run(tmp_path / "new", False, result)
    trained(tmp_path)
    refuse_earlier_run(tmp_path, True, result)
    with pytest.raises(InputError, match=r"checkpoint.pt of an earlier run; continue it with --resume, or .* --out$"):
        refuse_earlier_run(tmp_path, False, result)
    (tmp_path / "checkpoint.pt").rename(tmp_path / result)
    with pytest.raises(InputError, match=rf"{result} of an earlier run; choose another --out$"):
        refuse_earlier_run(tmp_path, False, result)


def test_resume_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    a_run(tmp_path).start(True, said.append)
    assert said == [f"--resume: {tmp_path} has no checkpoint, so training starts from the beginning"]
    trained(tmp_path)
    run = a_run(tmp_path)
    run.start(True, said.append)
    assert run.done == ["first"] and run.module.weight.item() == 0.5 and len(said) == 1
    assert (tmp_path / "metrics.jsonl").read_text() == '{"phase": "first"}\n'


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    flipped = []
    for at in range(0, len(whole), 37):
        flipped.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for content in (b"", b"no zip", whole[: len(whole) // 2], whole[:-1], whole + b"0", *flipped):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint.pt: is damaged: .*; train anew in another --out$"):
            a_run(tmp_path).start(True, lambda _line: None)
    path.write_bytes(whole)
    a_run(tmp_path).start(True, lambda _line: None)


def test_a_checkpoint_of_an_earlier_version_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"tensor": torch.arange(9000)}, path)
    assert load_checkpoint(path)["tensor"].tolist() == list(range(9000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_checkpoint(tmp_path / "pairs-1.pt")


def test_saving_a_checkpoint_that_fails_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be written: No space left on device; it is as it was"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_links_that_training_kept_on_its_way_are_checked(tmp_path: Path) -> None:
    made = load_links(LINKS)
    path = tmp_path / "stages/aligned.json"
    made.save(path)
    assert load_links(path) == made  # an earlier version wrote no digest
    seal(path)
    assert load_links(path) == made
    text = path.read_text()
    digit = re.search(r"0\.\d*([1-8])", text)
    assert digit is not None
    path.write_text(text[: digit.start(1)] + str(int(digit[1]) + 1) + text[digit.end(1) :])
    with pytest.raises(InputError, match=r"has other bytes in aligned\.json than were written; train again, or delete"):
        load_links(path)
    (tmp_path / "stages/aligned.json.sha256").unlink()
    assert load_links(path) != made


def test_damaged_results_are_asked_again(tmp_path: Path) -> None:
    said: list[str] = []
    results = Results(tmp_path, {"set": "made"}, say=said.append)
    results.gather()
    results.append({"index": index, "ours": [True], "answers": ["Ä"]} for index in range(4))
    results.gather()
    path = tmp_path / "results.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["index"] for line in lines[:4]] == [0, 1, 2, 3] and said == []
    path.write_text("\n".join([lines[0], lines[1].replace("true", "false"), lines[2], lines[3][:-9]]), encoding="utf-8")
    again = Results(tmp_path, {"set": "made"}, say=said.append)
    assert [line["index"] for line in again.lines()] == [0, 2]
    assert said == [f"{path}: 2 damaged lines left out; what is missing is asked again"]


@pytest.mark.parametrize("content", ["[]", "3", '{"set": "other"}'])
def test_results_of_another_run_are_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=re.escape("holds results of another run")):
        Results(tmp_path, {"set": "made"})


def test_a_cell_that_a_kill_cut_off_is_measured_again(tmp_path: Path) -> None:
    path, log = tmp_path / "cells.jsonl", tmp_path / "depth3/metrics.jsonl"
    cells = [{"row": "trained links", "rounds": rounds, "correct": "01" * 50} for rounds in (1, 2, 3)]
    for each in cells:
        append_cell(path, each)
    log.parent.mkdir()
    log.write_text('{"phase": "outer", "loss": 1.0}\n{"phase": "ou')
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        left = read_cells(path)
        assert left == cells[: len(left)] and len(left) >= whole[:end].count(b"\n")
        for each in cells[len(left) :]:
            append_cell(path, each)
        assert read_cells(path) == cells
    record = raw_record("chain", 0, tmp_path, None)
    assert record["cells"] == cells and record["outer_log"] == [{"phase": "outer", "loss": 1.0}]
