"""`rmas tune`: what it measures, chooses, draws and writes."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of
from recursivemas.system.system import load_system
from recursivemas.system.tuning import Tuned, write_tuned
from recursivemas.training.evaluation.evaluate import Cell
from recursivemas.training.evaluation.tune import choose

ROOT = Path(__file__).parents[2]
LINKS = ROOT / "systems/links/hop-sequential.recursivelink.json"
DATA = ROOT / "systems/data/hop-test.jsonl"


def cell(rounds: int, positions: float, right: int, total: int = 100) -> Cell:
    """A measured combination; both halves of the questions have the same accuracy."""
    correct = tuple(index // 2 < right // 2 for index in range(total))
    return Cell("latent", rounds, 2, 0.0, "none", 1.0, positions, 1.0, {}, correct, ("a",) * total)


def tuned(rounds: int = 2, latent_steps: int = 4) -> Tuned:
    counts = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "questions": 50, "forward_positions": 120.5}
    places = {"data": "a.jsonl", "data_sha256": "0" * 64, "links_sha256": "1" * 64}
    return Tuned.model_validate({"rounds": rounds, "latent_steps": latent_steps, **counts, **places})


def test_choice_is_the_cheapest_that_is_nearly_the_best() -> None:
    cells = [cell(1, 50, 40), cell(2, 100, 90), cell(3, 150, 92), cell(4, 200, 60)]
    assert choose(cells, None, 0.05).chosen is cells[1]
    assert choose(cells, None, 0.0).chosen is cells[2]
    assert choose(cells, 60, 0.0).chosen is cells[0]
    assert choose(cells, None, 0.0).frontier == tuple(cells[:3])


def test_accuracy_of_the_choice_comes_from_questions_that_it_did_not_see() -> None:
    lucky = tuple(index % 2 == 0 for index in range(100))  # right exactly where the choice looks
    flattered = Cell("latent", 1, 2, 0.0, "none", 1.0, 10.0, 1.0, {}, lucky, ("a",) * 100)
    accuracy, low, high, questions = choose([flattered, cell(2, 20, 90)], None, 0.0).held_out
    assert (accuracy, questions) == (0.0, 50)
    assert low == 0.0 and high < 0.1


def test_budget_that_nothing_fits_is_told_with_the_least_cost() -> None:
    with pytest.raises(InputError, match=r"--budget 40: no combination .* computes 50"):
        choose([cell(1, 50, 40), cell(2, 100, 90)], 40, 0.01)


def test_one_question_is_too_few() -> None:
    with pytest.raises(InputError, match="at least 2 questions"):
        choose([cell(1, 50, 1, total=1)], None, 0.01)


def test_writing_keeps_comments_and_all_else_and_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "systems/mine.yaml"
    path.parent.mkdir()
    before = (ROOT / "systems/hop-distillation.yaml").read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")
    write_tuned(path, tuned())
    text = path.read_text(encoding="utf-8")
    assert load_system(path).tuned == tuned()
    assert (load_system(path).rounds, load_system(path).latent_steps) == (2, 4)
    kept = text.replace("rounds: 2\n", "rounds: 3\n", 1).replace("latent_steps: 4\n", "latent_steps: 2\n", 1)
    assert kept.startswith(before)
    write_tuned(path, tuned(3, 2))
    assert path.read_text(encoding="utf-8").count("tuned:") == 1
    assert path.read_text(encoding="utf-8").startswith(before)
    assert load_system(path).tuned == tuned(3, 2)


def test_steps_of_a_task_are_the_ones_that_are_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (ROOT / "systems/hop-distillation.yaml").read_text(encoding="utf-8")
    path.write_text(text.rstrip("\n") + "\n  latent_steps: 7", encoding="utf-8")
    write_tuned(path, tuned())
    system = load_system(path)
    assert (system.latent_steps, system.default_latent_steps) == (2, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{version: 1, rounds: 2}", "block style"), ("rounds: 0x2\nlatent_steps: 1\n", "plain numbers")],
)
def test_files_that_cannot_be_edited_are_left_as_they_are(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        write_tuned(path, tuned())
    assert path.read_text(encoding="utf-8") == text


def test_default_system_is_tuned_with_its_plot(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "systems/agents", tmp_path / "agents")
    shutil.copytree(ROOT / "systems/data", tmp_path / "data")
    path = Path(shutil.copy(ROOT / "systems/hop-sequential.yaml", tmp_path))
    options = ["--links", str(LINKS), "--data", str(DATA), "--limit", "60", "--budget", "150", "--device", "cpu"]
    command = ["tune", str(path), *options, "--latent-steps", "2", "--out", str(tmp_path / "out"), "--write"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "over budget" in result.output
    record = json.loads((tmp_path / "out/tune.json").read_text(encoding="utf-8"))
    assert [each["rounds"] for each in record["cells"] if each["forward_positions"] <= 150] == [1, 2]
    assert (tmp_path / "out/tune.png").read_bytes().startswith(b"\x89PNG")
    system = load_system(path)
    assert system.tuned is not None and system.rounds == system.tuned.rounds == 2
    assert system.tuned.questions == 30 and system.tuned.low < system.tuned.accuracy < system.tuned.high
    assert (system.tuned.data_sha256, system.tuned.links_sha256) == (sha256_of(DATA), sha256_of(LINKS))
