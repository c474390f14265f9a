"""Training end to end on random tiny agents: it learns, it resumes after a kill, it leaves agents alone."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.system.system import System
from recursivemas.training import agents as agents_module
from recursivemas.training.agents import LoadedAgent, checksums, load_agents
from recursivemas.training.evidence.jobs import ShuffledAnswers
from recursivemas.training.links import Links
from recursivemas.training.tasks import hop
from recursivemas.training.tasks.data import TrainingData
from recursivemas.training.train import trainer
from recursivemas.training.train.checkpoint import load_checkpoint
from recursivemas.training.train.optimise import Schedule
from recursivemas.training.train.trainer import run_identity, train_system
from tests.training.conftest import MakeSystem

SETTINGS: dict[str, Any] = {
    "inner_width": 16,
    "outer_width": 16,
    "inner": {"questions": 24, "steps": 30, "batch_size": 32, "refinements": 2, "refinement_steps": 8},
    "outer": {"alignment_steps": 20, "steps": 16, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 2},
}


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text() if (folder / "metrics.jsonl").exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("pattern", ["sequential", "mixture", "distillation"])
def test_train_system_lowers_inner_losses_and_leaves_agents_unchanged(
    make_system: MakeSystem, tmp_path: Path, pattern: str
) -> None:
    system = make_system(pattern, **SETTINGS)
    used = load_agents(system)
    before = checksums(used)
    train_system(system, tmp_path, agents=used)
    assert checksums(used) == before
    log = lines(tmp_path)
    for phase in (f"inner {name}" for name in used):
        losses = [line["loss"] for line in log if line["phase"] == phase and "loss" in line]
        assert sum(losses[-5:]) < sum(losses[:5])
    outer = [line for line in log if line["phase"] == "outer"]
    assert len(outer) == 16
    rounds = {key for key in outer[0] if key.startswith("handoff_gradient/")}
    forward = [edge for edge in system.edges if not edge.feedback]
    assert len(rounds) == 2 * len(forward) + (len(system.edges) - len(forward))
    links = load_links(tmp_path / "recursivelink.json")
    assert links.provenance["agents_sha256"] == before


def test_train_system_measures_inner_links_on_held_out_questions_and_reports_boilerplate(
    make_system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MOST_BOILERPLATE", 0.0)
    said: list[str] = []
    train_system(make_system("distillation", **SETTINGS), tmp_path, say=said.append)
    assert [line.split(":")[0] for line in said] == ["agent planner", "agent solver"]
    assert "training.inner.text_tokens" in said[0]
    log = lines(tmp_path)
    reports = [line for line in log if line["phase"] == "pairs"]
    assert all(line["held_out_pairs"] > 0 and line["distinct_tokens"] > 1 for line in reports)
    measured = [line for line in log if line["phase"].startswith("inner ") and "nearest_token_accuracy" in line]
    assert measured and all(-1 <= line["held_out_cosine"] <= 1 for line in measured)


def test_train_system_without_a_question_to_hold_out_says_so(make_system: MakeSystem, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in hop.questions(1, 4)))
    said: list[str] = []
    data = TrainingData(str(file), 0)
    short = {"inner": {"questions": 40, "steps": 1}, "outer": {"alignment_steps": 1, "steps": 0}}
    train_system(make_system("distillation", **short), tmp_path / "out", data=data, say=said.append)
    assert said[-1].startswith("every question is trained on")
    assert not any("nearest_token_accuracy" in line for line in lines(tmp_path / "out"))


def test_refinement_has_questions_of_its_own_and_spares_outer_links_without_alignment(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    inner = {"questions": 8, "steps": 2, "refinements": 1, "refinement_steps": 5}
    outer = {"alignment_steps": 0, "steps": 0}
    counts = []
    for questions in (2, 6):
        folder = tmp_path / str(questions)
        settings = {"inner": {**inner, "refinement_questions": questions}, "outer": outer}
        train_system(make_system("distillation", **settings), folder)
        pairs = load_checkpoint(folder / "pairs-1.pt")
        counts.append(sum(len(each["targets"]) for each in pairs.values()))
        started, aligned = (load_links(folder / "stages" / f"{name}.json") for name in ("started", "aligned"))
        assert started.outer == aligned.outer and started.inner != aligned.inner
    assert counts[0] < counts[1]


def test_alignment_that_goes_wrong_ends_at_its_start(make_system: MakeSystem, tmp_path: Path) -> None:
    outer = {"alignment_steps": 6, "alignment_learning_rate": 30.0, "steps": 0}
    train_system(make_system("distillation", inner=SETTINGS["inner"], outer=outer), tmp_path)
    started, aligned = (load_links(tmp_path / "stages" / f"{name}.json") for name in ("started", "aligned"))
    assert started.outer == aligned.outer
    checks = [line["better_than_start"] for line in lines(tmp_path) if "better_than_start" in line]
    assert checks and not any(checks)


def test_role_texts_are_asked_for_only_where_inner_links_learn(make_system: MakeSystem, tmp_path: Path) -> None:
    inner = {**SETTINGS["inner"], "texts": str(tmp_path / "texts.jsonl")}
    system = make_system("distillation", **{**SETTINGS, "inner": inner})
    with pytest.raises(InputError, match=r"texts\.jsonl: training\.inner\.texts names this file of role texts"):
        train_system(system, tmp_path / "whole")
    start = trainer.new_links(system, load_agents(system)).to_file(system.name, {})
    train_system(system, tmp_path / "outer", start=start)
    train_system(system, tmp_path / "soft", soft_prompts=True)
    assert {line["phase"] for folder in ("outer", "soft") for line in lines(tmp_path / folder)} == {"outer"}


def test_train_system_repeats_itself(system: System, make_system: MakeSystem, tmp_path: Path) -> None:
    declared = make_system("distillation", **SETTINGS)
    train_system(declared, tmp_path / "a")
    train_system(declared, tmp_path / "b")
    a, b = (load_links(tmp_path / name / "recursivelink.json") for name in "ab")
    assert (a.inner, a.outer) == (b.inner, b.outer)


def write_system(system: System, path: Path) -> None:
    path.write_text(yaml.safe_dump(system.model_dump(mode="json", by_alias=True, exclude={"edges"})))


RMAS = [sys.executable, "-m", "recursivemas.cli.app"]

# Trains, and is killed soon after step 5 of a phase. The clock that kills it is its own, so it cannot get away while
# the machine is busy with something else.
MORTAL = """
import os, signal, sys
from recursivemas.cli.app import main
from recursivemas.training.train.optimise import Run

phase, log = sys.argv.pop(1), Run.log
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))

def log_and_set_the_clock(run, **figures):
    log(run, **figures)
    if figures["phase"] == phase and figures.get("step", 0) == 5:
        signal.setitimer(signal.ITIMER_REAL, 0.003)

Run.log = log_and_set_the_clock
main()
"""


def command(path: Path, out: Path, program: list[str] = RMAS) -> list[str]:
    settings = ["--resume", "--checkpoint-every", "3", "--threads", "1"]
    return [*program, "train", str(path), "--out", str(out), *settings]


@pytest.fixture(scope="module")
def whole(make_system: MakeSystem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupts; its system lies beside it."""
    folder = tmp_path_factory.mktemp("train")
    write_system(make_system("distillation", **SETTINGS), folder / "system.yaml")
    subprocess.run(command(folder / "system.yaml", folder / "whole"), check=True, capture_output=True)
    return folder / "whole"


@pytest.mark.parametrize("phase", ["inner solver, refinement 2", "outer"])
def test_train_killed_at_any_moment_continues_to_the_same_links(whole: Path, tmp_path: Path, phase: str) -> None:
    path, out = whole.with_name("system.yaml"), tmp_path / "killed"
    process = subprocess.run(command(path, out, [sys.executable, "-c", MORTAL, phase]), capture_output=True)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert lines(out)[-1]["phase"] == phase
    assert not (out / "recursivelink.json").exists()
    subprocess.run(command(path, out), check=True, capture_output=True)
    links, continued = (load_links(folder / "recursivelink.json") for folder in (whole, out))
    assert {record.dtype for link in links.outer.values() for record in link.tensors.values()} == {"float16"}
    assert (links.inner, links.outer) == (continued.inner, continued.outer)
    timeless = [
        [{key: value for key, value in line.items() if key != "step_ms"} for line in lines(folder)]
        for folder in (whole, out)
    ]
    assert timeless[0] == timeless[1]


def test_train_refuses_a_checkpoint_of_another_run(make_system: MakeSystem, tmp_path: Path) -> None:
    short = {**SETTINGS, "outer": {**SETTINGS["outer"], "steps": 1}}
    links = train_system(make_system("distillation", **short), tmp_path)
    assert load_links(tmp_path / "recursivelink.json").outer == links.to_file("s", {}).outer  # float32, unless asked
    with pytest.raises(InputError, match="checkpoint of another run"):
        train_system(make_system("distillation", seed=1, **short), tmp_path, resume=True)


def test_run_identity_counts_data_and_start_but_no_paths(system: System, tmp_path: Path) -> None:
    questions = "".join(record.model_dump_json(exclude_none=True) + "\n" for record in hop.questions(1, 4))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "q.jsonl").write_text(questions)

    def moved(name: str) -> System:
        agents = [agent.model_copy(update={"model": f"/{name}/{agent.id}"}) for agent in system.agents]
        return system.model_copy(update={"agents": tuple(agents)})

    def of(name: str) -> TrainingData:
        return TrainingData(str(tmp_path / name / "q.jsonl"), 0)

    sums = {"planner": "1"}
    one, other = (
        Links.create({"a": 4}, {}, "paper", 2, 2).to_file("s", {}),
        Links.create({"a": 4}, {}, "paper", 2, 2).to_file("s", {}),
    )
    plain = run_identity(moved("a"), of("a"), sums, one)
    assert plain == run_identity(moved("b"), of("b"), sums, one)
    different = [
        run_identity(moved("a"), of("a"), sums, None),
        run_identity(moved("a"), of("a"), sums, other),
        run_identity(moved("a"), ShuffledAnswers(of("a").source, 0), sums, one),
        run_identity(moved("a"), of("a"), {"planner": "2"}, one),
        run_identity(system.model_copy(update={"rounds": 9}), of("a"), sums, one),
    ]
    (tmp_path / "a" / "q.jsonl").write_text(questions + questions)
    different.append(run_identity(moved("a"), of("a"), sums, one))
    assert len({plain, *different}) == 7


def test_gradient_accumulation_counts_every_micro_batch(make_system: MakeSystem, tmp_path: Path) -> None:
    outer = {**SETTINGS["outer"], "steps": 2, "gradient_accumulation": 3}
    system = make_system("distillation", **{**SETTINGS, "outer": outer})
    seen: list[int] = []

    class Watched(TrainingData):
        def batch(self, stream: int, step: int, size: int) -> Any:
            if stream == 1:
                seen.append(step)
            return super().batch(stream, step, size)

    train_system(system, tmp_path, data=Watched("generator:hop", 0))
    assert seen == [0, 1, 2, 3, 4, 5]


def test_role_texts_that_are_not_there_are_named_before_agents_are_loaded(
    make_system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "load_weights", None)
    system = make_system("distillation", inner={"texts": str(tmp_path / "roles.jsonl")})
    with pytest.raises(InputError, match=r"roles\.jsonl: training\.inner\.texts names .* is missing") as caught:
        train_system(system, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_training_data_depends_on_seed_and_step_alone() -> None:
    one, two = TrainingData("generator:hop", 0), TrainingData("generator:hop", 0)
    two.batch(1, 3, 5)
    assert one.batch(1, 7, 5) == two.batch(1, 7, 5)
    assert one.batch(1, 7, 5) != one.batch(1, 8, 5)
    assert TrainingData("generator:hop", 1).batch(1, 7, 5) != one.batch(1, 7, 5)
    with pytest.raises(InputError, match="unknown task"):
        TrainingData("generator:hopp", 0)


def test_schedule_warms_up_and_ends_at_zero() -> None:
    schedule = Schedule(100, 2.0, warmup_steps=10)
    assert schedule.rate(0) == pytest.approx(0.2)
    assert schedule.rate(9) == schedule.rate(10) == 2.0
    assert schedule.rate(55) == pytest.approx(1.0)
    assert 0 <= schedule.rate(99) < 0.01


def test_checksum_sees_one_changed_bit(agents: dict[str, LoadedAgent]) -> None:
    from recursivemas.training.agents import checksum

    module = torch.nn.Linear(3, 3)
    before = checksum(module)
    with torch.no_grad():
        module.weight[0, 0] = torch.nextafter(module.weight[0, 0], torch.tensor(9.0))
    assert checksum(module) != before


def test_checksums_read_shared_weights_once(agents: dict[str, LoadedAgent], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    monkeypatch.setattr(agents_module, "checksum", lambda model: read.append(model) or str(len(read)))
    assert checksums({"a": agents["planner"], "b": agents["critic"], "c": agents["planner"]}) == {
        "a": "1",
        "b": "2",
        "c": "1",
    }
