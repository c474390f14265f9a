"""Early stopping from the command line and from Python, and the threshold that `rmas tune` chooses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import recursivemas as rm
from recursivemas.cli.app import app
from recursivemas.cli.tune_stopping import Stopping
from recursivemas.system.early_stopping import Calibrated
from recursivemas.system.errors import InputError
from recursivemas.system.system import load_system
from recursivemas.system.tuning import Tuned, write_tuned
from recursivemas.training.evaluation.calibrate import calibrate, evidence
from recursivemas.training.evaluation.evaluate import Cell, Stopped
from recursivemas.training.evaluation.statistics import share_high
from tests.cli.test_tune import tuned

ROOT = Path(__file__).parents[2]
LINKS = ROOT / "systems/links/hop-sequential.recursivelink.json"
DATA = ROOT / "systems/data/hop-test.jsonl"


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default system without a threshold, in a folder of its own."""
    folder = tmp_path_factory.mktemp("systems")
    shutil.copytree(ROOT / "systems/agents", folder / "agents")
    shutil.copytree(ROOT / "systems/data", folder / "data")
    path = folder / "hop-sequential.yaml"
    text = (ROOT / "systems/hop-sequential.yaml").read_text(encoding="utf-8")
    path.write_text(text.partition("early_stopping:")[0], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def system(untuned: Path) -> rm.LoadedSystem:
    return rm.load(untuned, LINKS, device="cpu")


def cells(similarities: list[list[float]], right: list[list[bool]], rounds: int = 3) -> tuple[Cell, dict[int, Cell]]:
    """All rounds with these similarities, and runs of fewer; `right` by question, from round 2 on."""
    total = len(similarities)

    def cell(r: int) -> Cell:
        correct = tuple(each[r - 2] for each in right)
        outcomes = tuple(Stopped(rounds, 60 * rounds, 0, tuple(each)) for each in similarities) if r == rounds else ()
        return Cell("latent", r, 2, 0.0, "none", 1.0, 60.0 * r, 1.0, {}, correct, ("a",) * total, outcomes=outcomes)

    return cell(rounds), {r: cell(r) for r in range(2, rounds)}


def test_the_highest_threshold_is_chosen_that_saves_nearly_as_much_and_loses_nothing() -> None:
    # Half of the questions repeat in round 2 and are right there; a fifth is half alike, and wrong there.
    alike = [[0.97] if at % 10 < 5 else [0.55] if at % 10 < 7 else [0.1] for at in range(2000)]
    right = [[at % 10 < 5, True] for at in range(2000)]
    found = calibrate(*cells(alike, right), tolerance=0.01)
    assert found.chosen is not None and found.chosen.threshold == 0.95
    assert (found.chosen.lost, found.chosen.rounds) == (0, pytest.approx(2.4))  # six of ten even ones
    lost = {trial.threshold: trial.lost for trial in found.trials}
    assert lost[0.5] > 0 == lost[0.6] and lost[0.98] == 0


def test_no_threshold_is_chosen_without_enough_questions_or_without_gain() -> None:
    few = calibrate(*cells([[0.99]] * 100, [[True, True]] * 100), tolerance=0.01)
    assert few.chosen is None and few.reason.endswith("that takes at least 598 questions")
    never = calibrate(*cells([[0.1]] * 1000, [[True, True]] * 1000), tolerance=0.01)
    assert never.chosen is None and never.reason.startswith("no round was like the one before")
    wrong = calibrate(*cells([[0.9999]] * 1000, [[False, True]] * 1000), tolerance=0.01)
    assert wrong.chosen is None and "below 0.01" in wrong.reason


def test_bound_of_a_share_is_that_of_clopper_and_pearson() -> None:
    assert share_high(0, 299) == pytest.approx(1 - 0.05 ** (1 / 299))
    # Tables of the one-sided 95% bound: 3 of 50 and 10 of 100.
    assert share_high(3, 50) == pytest.approx(0.1478, abs=5e-5)
    assert share_high(10, 100) == pytest.approx(0.1637, abs=5e-5)
    assert share_high(5, 5) == 1.0


def test_evidence_comes_from_the_other_questions_and_is_paired() -> None:
    full, _ = cells([[0.99]] * 4, [[True, True], [True, True], [True, False], [False, True]])
    outcomes = tuple(Stopped(2, 120, 60, (0.99,)) for _ in range(4))
    early = Cell("latent", 3, 2, 0.0, "none", 1.0, 120.0, 1.0, {}, (True, True, True, False), outcomes=outcomes)
    found = evidence(0.9, full, early)
    assert (found.questions, found.accuracy, found.full_accuracy) == (2, 0.5, 1.0)
    assert (found.lost, found.gained) == (1, 0)
    assert (found.saved, found.saved_low, found.saved_high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_what_was_saved_is_rounded_once_wherever_it_is_shown() -> None:
    full, _ = cells([[0.99]] * 2, [[True, True]] * 2)
    spent = tuple(Stopped(2, 161, 0, (0.99,)) for _ in range(2))
    whole = tuple(Stopped(3, 181, 0, (0.99,)) for _ in range(2))
    found = evidence(0.9, replace(full, outcomes=whole), replace(full, outcomes=spent))
    chosen = Stopping(calibrate(*cells([[0.99]] * 1000, [[True, True]] * 1000), tolerance=0.01), found)
    (line,) = chosen.lines()
    assert "saved 11.0% (11.0%..11.0%)" in line  # 20 of 181, not the 11.1% of .1105
    assert found.model_dump()["saved"] == 0.1105


def test_answer_says_where_it_stopped_and_costs_less(system: rm.LoadedSystem) -> None:
    question = "j~l l-e b~d c-f k-a d-i e>g f>j a>b g~k h~c i>h ? e@1"
    whole, early = system.ask(question), system.ask(question, early_stopping=0.99)
    assert early.answer == whole.answer == "g"
    assert early.early_stop is not None and (early.early_stop.round, early.early_stop.of, early.rounds) == (2, 3, 2)
    assert 0.99 <= early.early_stop.similarity <= 1
    assert early.forward_positions == system.ask(question, rounds=2).forward_positions < whole.forward_positions
    assert early.record()["early_stop"]["round"] == 2
    assert whole.early_stop is None and "early_stop" not in whole.record()
    *_, last = system.stream(question, early_stopping=0.99)
    assert isinstance(last, rm.Answer) and last.early_stop == early.early_stop


def test_evaluation_tells_mean_rounds_and_what_was_saved(system: rm.LoadedSystem) -> None:
    whole, early = system.evaluate(DATA, limit=27, early_stopping=[False, 0.99]).cells
    assert early.accuracy == whole.accuracy
    assert early.mean_rounds < whole.mean_rounds == 3
    assert early.saved_positions == pytest.approx(whole.forward_positions - early.forward_positions)
    assert early.row()["threshold"] == 0.99 and "threshold" not in whole.row()


@pytest.mark.parametrize(
    ("given", "said"),
    [(True, "has no threshold for early stopping"), (0, "above 0 and at most 1, got 0"), (1.5, "got 1.5")],
)
def test_thresholds_that_are_none_are_refused(system: rm.LoadedSystem, given: bool | float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        system.ask("a>b ? a@1", early_stopping=given)


def test_controls_need_all_rounds(system: rm.LoadedSystem) -> None:
    with pytest.raises(InputError, match="turn early stopping off"):
        system.evaluate(DATA, limit=4, control="zeros", early_stopping=0.9)


def test_tune_writes_a_threshold_that_run_and_eval_take(untuned: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(untuned, untuned.parent / "tuned.yaml"))
    links = ["--links", str(LINKS), "--device", "cpu"]
    options = ["--rounds", "3", "--latent-steps", "2", "--limit", "54", "--tolerance", "0.15"]
    out = ["--out", str(tmp_path), "--write"]
    result = CliRunner().invoke(app, ["tune", str(path), *links, *options, *out], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "early stopping: threshold" in result.output
    written = load_system(path)
    assert written.early_stopping is not None and written.tuned is not None
    found = written.tuned.early_stopping
    assert found is not None and found.threshold == written.early_stopping.threshold >= 0.9
    assert (found.lost, found.gained, found.questions) == (0, 0, 27)
    assert 0 < found.saved_low < found.saved < found.saved_high < 1
    assert len(json.loads((tmp_path / "tune.json").read_text())["early_stopping"]["trials"]) == 10
    question = ["--question", "j~l l-e b~d c-f k-a d-i e>g f>j a>b g~k h~c i>h ? e@1"]
    ran = CliRunner().invoke(app, ["run", str(path), *links, *question, "--early-stopping", "on"])
    assert "stopped early in round 2 of 3" in ran.output
    measured = ["eval", str(path), *links, "--limit", "9", "--early-stopping", "off,on"]
    evaluated = CliRunner().invoke(app, measured, catch_exceptions=False).output
    assert re.search(
        r"threshold +accuracy +mean R +positions +saved\n +3 +2 +0\.999 +1\.000 +2\.67 +161 +20\.0", evaluated
    )
    with pytest.raises(InputError, match="expected on, off or a number"):
        CliRunner().invoke(app, [*measured[:-1], "maybe"], catch_exceptions=False)


def test_a_threshold_without_evidence_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    before = (ROOT / "systems/hop-distillation.yaml").read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")
    counts = {"questions": 300, "lost": 0, "gained": 1, "rounds": 2.5, "threshold": 0.98}
    shares = dict.fromkeys(("accuracy", "full_accuracy", "saved", "saved_low", "saved_high"), 0.5)
    positions = {"forward_positions": 150, "full_forward_positions": 180}
    found = Calibrated.model_validate({**counts, **shares, **positions})
    with_threshold = Tuned.model_validate({**tuned(3, 2).model_dump(), "early_stopping": found.model_dump()})
    write_tuned(path, with_threshold)
    assert load_system(path).tuned == with_threshold
    assert load_system(path).early_stopping is not None
    write_tuned(path, with_threshold)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(before) and text.count("early_stopping:") == 2
    write_tuned(path, tuned(3, 2))
    assert load_system(path).early_stopping is None
    assert "early_stopping" not in path.read_text(encoding="utf-8")
