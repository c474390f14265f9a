"""The record of the townsfolk system's evidence: cells of other machines count, and those of other links do not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recursivemas.system.links_file import load_links
from recursivemas.training.agents import load_agents
from recursivemas.training.evidence import townsfolk
from recursivemas.training.tasks.data import TrainingData
from recursivemas.training.train.trainer import new_links, settings_record
from tests.training.conftest import MakeSystem


def cell(row: str, rounds: int, right: int, part: str = "main", seed: int = 0) -> dict[str, Any]:
    figures = {"decoded_tokens": 2.0, "forward_positions": 400.0, "time_ms": 1.0}
    told = {"part": part, "subject": "s", "links": "l", "questions": 10, "mode": "latent", "latent_steps": 2}
    marks = "1" * right + "0" * (10 - right)
    return {"row": row, "seed": seed, "rounds": rounds, "control": "none", "correct": marks, **figures, **told}


def keep(work: Path, cells: list[dict[str, Any]]) -> None:
    folder = work / f"townsfolk-{cells[0]['seed']}" / cells[0]["part"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cells.jsonl").write_text("".join(json.dumps(each) + "\n" for each in cells))


def rows(out: Path) -> dict[tuple[str, int], float]:
    record = json.loads((out / "townsfolk.json").read_text())
    return {(row["row"], row["rounds"]): row["accuracy"] for row in record["rows"]}


def test_the_record_goes_on_where_another_machine_stopped(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert not townsfolk.write_townsfolk([0, 1], first, tmp_path)
    keep(first, [cell("trained links", 3, 7), cell("trained links", 2, 3)])
    keep(first, [cell("text", 3, 8, part="text")])
    assert townsfolk.write_townsfolk([0, 1], first, tmp_path)
    assert rows(tmp_path) == {("trained links", 3): 0.7, ("trained links", 2): 0.3, ("text", 3): 0.8}
    # Another machine has measured its own part anew, and another seed.
    keep(second, [cell("trained links", 3, 9)])
    keep(second, [cell("trained links", 3, 5, seed=1)])
    townsfolk.write_townsfolk([0, 1], second, tmp_path)
    assert rows(tmp_path) == {("trained links", 3): 0.7, ("text", 3): 0.8}
    assert (tmp_path / "townsfolk.png").stat().st_size > 1000


def test_what_only_the_training_machine_knows_stays_in_the_record(tmp_path: Path) -> None:
    trains, reports = tmp_path / "trains", tmp_path / "reports"
    keep(trains, [cell("trained links", 3, 8), cell("after 20 steps of cross-entropy", 3, 7)])
    log = trains / "townsfolk-0/cross-entropy/cross-entropy/metrics.jsonl"
    log.parent.mkdir(parents=True)
    steps = [{"phase": "outer", "step": step, "loss": 1.0, "handoff_gradient/a->b/1": step} for step in (1, 2, 3)]
    log.write_text("".join(json.dumps(step) + "\n" for step in steps))
    townsfolk.write_townsfolk([0], trains, tmp_path)
    curve = (tmp_path / "townsfolk-steps.png").read_bytes()
    assert (tmp_path / "townsfolk-stability.png").stat().st_size > 1000
    for work in (trains, reports):
        townsfolk.write_townsfolk([0], work, tmp_path)
        assert json.loads((tmp_path / "townsfolk.json").read_text())["gradient_norms"] == {"a->b": {"1": 2.0}}
    # The other machine has no loss to draw, so it leaves the picture alone.
    assert (tmp_path / "townsfolk-steps.png").read_bytes() == curve


QUESTIONS = 3


@pytest.fixture
def systems(make_system: MakeSystem, tmp_path: Path) -> Path:
    """A folder with a tiny system in place of the townsfolk system, its links and its questions."""
    inner = {"questions": 8, "steps": 1, "batch_size": 8, "refinements": 0}
    outer = {"alignment_steps": 0, "steps": 0, "batch_size": 2}
    system = make_system("distillation", inner_width=8, outer_width=8, inner=inner, outer=outer)
    folder = tmp_path / "systems"
    (folder / "links").mkdir(parents=True)
    records = TrainingData("generator:hop", 1).batch(1, 1, QUESTIONS)
    rows = [{**record.model_dump(mode="json", exclude_none=True), "all_facts": "a>b"} for record in records]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declared = system.model_dump(mode="json", by_alias=True, exclude={"edges"})
    declared["task"]["data"] = "questions.jsonl"
    (folder / townsfolk.SYSTEM).write_text(yaml.safe_dump(declared))
    links = new_links(system, load_agents(system)).to_file(system.name, {"training": settings_record(system)})
    links.save(folder / "links" / f"{townsfolk.NAME}.recursivelink.json")
    return folder


def test_every_part_is_measured_once_and_again_only_for_other_links(
    systems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(townsfolk, "CURVE", (1, 2))
    monkeypatch.setattr(townsfolk, "SHUFFLED_STEPS", 1)
    monkeypatch.setattr(townsfolk, "SOFT_PROMPTS", {"steps": 1, "batch_size": 2})
    asked: list[int] = []
    evaluate = townsfolk.evaluate
    monkeypatch.setattr(
        townsfolk, "evaluate", lambda *given, **more: (asked.append(more["seed"]), evaluate(*given, **more))[1]
    )

    def run(*parts: str) -> int:
        asked.clear()
        for part in parts:
            townsfolk.run_part(part, 0, tmp_path / "work", systems, tmp_path, questions=QUESTIONS)
        return len(asked)

    assert run(*townsfolk.PARTS) > 25
    assert set(asked) == {0, 1000, 2000, 3000}, "every sample of a vote has a seed of its own"
    assert townsfolk.write_townsfolk([0], tmp_path / "work", tmp_path)
    found = {row for row, _ in rows(tmp_path)}
    record = json.loads((tmp_path / "townsfolk.json").read_text())
    cells = {each["row"]: each for each in record["cells"] if each["row"].startswith(townsfolk.SAMPLED)}
    samples = [cells[row] for row in (townsfolk.SAMPLED, *townsfolk.OTHER_SAMPLES)]
    vote = cells[f"{townsfolk.SAMPLED}, vote of 4"]
    assert vote["forward_positions"] == pytest.approx(sum(each["forward_positions"] for each in samples))
    marks = zip(*(each["correct"] for each in samples), strict=True)
    assert vote["correct"] == "".join("01"[mark.count("1") >= 2] for mark in marks)
    assert vote["row"] in found and not found & set(townsfolk.OTHER_SAMPLES)
    assert {
        "control: planner->solver is zeros",
        "after 1 steps of cross-entropy",
        "after 2 steps through 2 rounds",
    } < found
    assert (tmp_path / "townsfolk-steps.png").stat().st_size > 1000
    assert "gradient_norms" in record
    assert run(*townsfolk.PARTS) == 0
    # Links with other numbers are other links; text between agents has none.
    path = systems / "links" / f"{townsfolk.NAME}.recursivelink.json"
    system = townsfolk.seeded(systems, 1)
    record = load_links(path).provenance
    new_links(system, load_agents(system)).to_file(system.name, record).save(path)
    assert run("text") == 0
    assert run("main") > 0


def test_controls_of_one_edge_change_no_other() -> None:
    value = torch.arange(6.0).reshape(3, 2)
    for hook, wanted in (
        (townsfolk._zeros, torch.zeros(3, 2)),
        (townsfolk._swapped, torch.tensor([[4.0, 5.0], [0.0, 1.0], [2.0, 3.0]])),
    ):
        assert torch.equal(hook("a->b", "a->b", 0, value), wanted)
        assert torch.equal(hook("a->b", "b->a", 0, value), value)
