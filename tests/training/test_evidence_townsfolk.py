"""The record of the townsfolk system's evidence: cells of other machines count, and those of other links do not."""

import json
from pathlib import Path
from typing import Any

from recursivemas.training.evidence import townsfolk


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
