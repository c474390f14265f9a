"""The evidence on cross-entropy: a curve of several seeds, whose missing seeds are left out."""

import json
from pathlib import Path

import pytest

from recursivemas.cli.train import train_command
from recursivemas.system.errors import InputError
from recursivemas.training.evidence import cross_entropy

ROOT = Path(__file__).parents[2]


def test_write_curve_joins_the_measured_seeds(tmp_path: Path) -> None:
    assert not cross_entropy.write_curve([0, 1], tmp_path, tmp_path)
    for seed in (0, 2):
        points = [
            {"step": step, "correct": "1" * (4 + seed + index) + "0" * (6 - seed - index)}
            for index, step in enumerate(cross_entropy.STEPS)
        ]
        folder = tmp_path / f"{cross_entropy.NAME}-{seed}"
        folder.mkdir()
        (folder / "curve.json").write_text(json.dumps({"seed": seed, "points": points, "loss": [2.0, 1.0, 0.5]}))
    assert cross_entropy.write_curve([0, 1, 2], tmp_path, tmp_path)
    written = json.loads((tmp_path / f"{cross_entropy.NAME}.json").read_text())
    assert written["seeds"] == [0, 2] and written["questions_per_seed"] == 10
    assert [row["steps"] for row in written["rows"]] == [0, 60, 100, 200, 300]
    assert written["rows"][0]["accuracy_by_seed"] == [0.4, 0.6] and written["rows"][0]["accuracy"] == 0.5
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in written["rows"])
    assert (tmp_path / f"{cross_entropy.NAME}.png").stat().st_size > 1000


def test_the_curve_trains_with_answers_alone() -> None:
    training = cross_entropy._system(ROOT / "systems", 2).training
    assert (training.seed, training.inner.refinements) == (2, 0)
    assert (training.outer.initialisation, training.outer.alignment_steps, training.outer.steps) == ("ridge", 0, 300)


@pytest.mark.parametrize("steps", ["0,x", "-1", "1,,2"])
def test_train_refuses_steps_that_are_no_numbers(tmp_path: Path, steps: str) -> None:
    with pytest.raises(InputError, match="--keep-at"):
        train_command(ROOT / "systems/hop-sequential.yaml", tmp_path, keep_at=steps)
