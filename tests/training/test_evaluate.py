"""Evaluation, its controls, `rmas eval` and the evidence tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.evaluation.evaluate import CONTROLS, asked_of, evaluate, other_question
from recursivemas.training.evidence import jobs as evidence
from recursivemas.training.evidence.jobs import ShuffledAnswers, vote_of
from recursivemas.training.evidence.report import aggregate, gradient_norms, seeds_of_line
from recursivemas.training.loading import load_recursion
from recursivemas.training.recursion import Recursion
from recursivemas.training.tasks import data as data_module
from recursivemas.training.tasks import hop
from recursivemas.training.tools import ToolAccess
from tests.training.conftest import MakeSystem, make_links


def test_evaluate_counts_what_the_system_answers(system: System, agents: dict[str, LoadedAgent]) -> None:
    recursion = Recursion(system, agents, make_links(system, agents).requires_grad_(False))
    records = hop.questions(3, 12)
    answers = recursion.run([record.question for record in records]).texts
    # Every second question gets what the system says as its right answer.
    records = [
        record.model_copy(update={"answer": text if index % 2 else "nowhere", "group": "odd" if index % 2 else "even"})
        for index, (record, text) in enumerate(zip(records, answers, strict=True))
    ]
    cell = evaluate(recursion, records, batch_size=5)
    assert cell.correct == (False, True) * 6
    assert cell.answers == tuple(answers)
    assert [each["correct"] for each in cell.answered(records)] == [False, True] * 6
    assert cell.by_group == {"even": 0.0, "odd": 1.0}
    assert (cell.right, cell.questions, cell.accuracy) == (6, 12, 0.5)
    assert cell.low < 0.5 < cell.high


def test_control_zeros_makes_outer_links_irrelevant(system: System, agents: dict[str, LoadedAgent]) -> None:
    one, two = make_links(system, agents).requires_grad_(False), make_links(system, agents).requires_grad_(False)
    for parameter in two._outer_modules.parameters():
        torch.nn.init.normal_(parameter)
    questions = [record.question for record in hop.questions(3, 6)]

    def last_thoughts(links: Any, control: Any) -> torch.Tensor:
        thoughts = Recursion(system, agents, links, CONTROLS[control]).run(questions).turns[-1].thoughts
        assert thoughts is not None
        return thoughts

    assert torch.equal(last_thoughts(one, "zeros"), last_thoughts(two, "zeros"))
    assert not torch.allclose(last_thoughts(one, "none"), last_thoughts(two, "none"))
    assert not torch.allclose(last_thoughts(one, "none"), last_thoughts(one, "other_question"))


def test_control_other_question_hands_over_a_neighbours_thoughts() -> None:
    value = torch.arange(6.0).reshape(3, 1, 2)
    assert other_question("a->b", 1, value).flatten().tolist() == [4, 5, 0, 1, 2, 3]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_control_other_question_reaches_a_question_alone_in_its_batch(
    system: System, agents: dict[str, LoadedAgent], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recursion = Recursion(system, agents, make_links(system, agents).requires_grad_(False))
    records = hop.questions(3, 3)
    batches: list[list[str]] = []
    run = Recursion.run

    def watched(self: Recursion, questions: list[str], *rest: Any, **options: Any) -> Any:
        batches.append(questions)
        return run(self, questions, *rest, **options)

    monkeypatch.setattr(Recursion, "run", watched)
    cell = evaluate(recursion, records, control="other_question", batch_size=batch_size)
    first, second, third = (record.question for record in records)
    expected = {1: [[third, first], [first, second], [second, third]], 2: [[first, second], [second, third]]}
    assert batches == expected[batch_size]
    assert (cell.questions, len(cell.correct)) == (3, 3)
    with pytest.raises(InputError, match="needs at least 2 questions, got 1"):
        evaluate(recursion, records[:1], control="other_question")


def test_evaluate_shows_prompts_the_columns_that_they_name(
    make_system: MakeSystem, agents: dict[str, LoadedAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_system()
    record = plain.model_dump(mode="json", by_alias=True, exclude={"edges"})
    record["agents"][0]["prompt"] = record["agents"][0]["prompt"].replace("{question}", "{facts} {question}")
    system = System.parse(record, "test")
    records = [each.model_copy(update={"fields": {"facts": "a>b"}}) for each in hop.questions(3, 2)]
    assert asked_of(system, records) == records
    assert asked_of(plain, records) == [each.question for each in records]
    loaded = {**agents, "planner": replace(agents["planner"], agent=system.agents[0])}
    access = ToolAccess()
    used = []
    run = Recursion.run

    def watched(self: Recursion, *rest: Any, **options: Any) -> Any:
        used.append(self.access)
        return run(self, *rest, **options)

    monkeypatch.setattr(Recursion, "run", watched)
    evaluate(Recursion(system, loaded, make_links(system, agents), access=access), records)
    assert used == [access] and used[0] is access
    with pytest.raises(InputError, match="needs the field 'facts', which question 2 "):
        evaluate(Recursion(system, loaded, None), [records[0], hop.questions(3, 2)[1]], mode="text")


def test_shuffled_answers_keep_the_questions_and_move_the_answers() -> None:
    plain = data_module.TrainingData("generator:hop", 0).batch(1, 0, 9)
    moved = ShuffledAnswers("generator:hop", 0).batch(1, 0, 9)
    assert [record.question for record in moved] == [record.question for record in plain]
    assert [record.answer for record in moved] == [*(record.answer for record in plain[1:]), plain[0].answer]


def test_run_job_takes_no_result_of_another_system_data_or_seed(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = tmp_path / "tiny.yaml"
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in hop.questions(1, 4)))
    record = system.model_dump(mode="json", by_alias=True, exclude={"edges"})
    record["task"]["data"] = str(questions)
    declared.write_text(yaml.safe_dump(record))
    monkeypatch.setitem(evidence.EXPERIMENTS, "chain", evidence.Experiment("tiny.yaml"))
    ran: list[int] = []

    def run(job: evidence.Job) -> None:
        ran.append(job.seed)
        job.keep({"row": "none"})

    monkeypatch.setattr(evidence.Job, "run", run)

    def result(seed: int = 0) -> Path:
        return evidence.run_job("chain", seed, tmp_path / "work", tmp_path)

    (tmp_path / "work").mkdir()
    first = result()
    assert result() == first
    assert ran == [0]
    assert result(1) != first
    questions.write_text(questions.read_text() * 2)
    other_data = result()
    declared.write_text(yaml.safe_dump({**record, "rounds": 1}))
    assert len({first, other_data, result()}) == 3
    assert ran == [0, 1, 0, 0]


def test_vote_costs_what_its_samples_cost_and_ties_are_right(system: System, agents: dict[str, LoadedAgent]) -> None:
    cell = evaluate(Recursion(system, agents, None), hop.questions(3, 4), mode="text")
    marks = [(True, True, False, False), (True, False, True, False), (True, False, False, False), (True,) * 4]
    samples = [
        replace(
            cell,
            correct=correct,
            decoded_tokens=1.0 + i,
            forward_positions=10.0 + i,
            time_ms=100.0 + i,
            kept_positions=5.0 + i,
        )
        for i, correct in enumerate(marks)
    ]
    vote = vote_of(samples)
    assert vote.correct == (True, True, True, False)
    assert (vote.right, vote.accuracy) == (3, 0.75)
    assert vote.low < 0.75 < vote.high
    assert (vote.decoded_tokens, vote.forward_positions, vote.time_ms) == (10.0, 46.0, 406.0)
    assert vote.kept_positions == 26.0


def test_rmas_eval_writes_table_json_and_picture(
    system: System, agents: dict[str, LoadedAgent], tmp_path: Path
) -> None:
    declared = tmp_path / "system.yaml"
    declared.write_text(yaml.safe_dump(system.model_dump(mode="json", by_alias=True, exclude={"edges"})))
    links = tmp_path / "links.json"
    make_links(system, agents).to_file(system.name, {}).save(links)
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in hop.questions(1, 4)))
    options = ["--links", str(links), "--data", str(questions), "--rounds", "1,2", "--out", str(tmp_path / "out")]
    modes = ["--mode", "latent,text,single,loop", "--control", "none,zeros", "--wrong", "1"]
    result = CliRunner().invoke(app, ["eval", str(declared), *options, *modes], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "eval.json").read_text())
    found = [(cell["mode"], cell["rounds"], cell["control"]) for cell in report["cells"]]
    latent = [("latent", r, c) for r in (1, 2) for c in ("none", "zeros")]
    others = [("text", 1, "none"), ("text", 2, "none"), ("single", 1, "none"), ("loop", 1, "none"), ("loop", 2, "none")]
    assert found == [*latent, *others]
    assert all(cell["low"] <= cell["accuracy"] <= cell["high"] for cell in report["cells"])
    for cell in report["cells"]:
        assert [each["question"] for each in cell["answers"]] == [record.question for record in hop.questions(1, 4)]
        assert [each["correct"] for each in cell["answers"]].count(True) == cell["right"]
    text, single = (next(cell for cell in report["cells"] if cell["mode"] == mode) for mode in ("text", "single"))
    assert "right answer" in result.output
    assert text["decoded_tokens"] > single["decoded_tokens"]
    assert (tmp_path / "out" / "eval.png").read_bytes().startswith(b"\x89PNG")


def test_rmas_eval_thinks_as_long_as_the_task_says(
    system: System, agents: dict[str, LoadedAgent], tmp_path: Path
) -> None:
    record = system.model_dump(mode="json", by_alias=True, exclude={"edges"})
    record["task"] |= {"latent_steps": 5, "data": str(tmp_path / "q.jsonl")}
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(record))
    make_links(system, agents).to_file(system.name, {}).save(tmp_path / "links.json")
    (tmp_path / "q.jsonl").write_text(hop.questions(1, 1)[0].model_dump_json(exclude_none=True))
    every = ["eval", str(tmp_path / "system.yaml"), "--links", str(tmp_path / "links.json"), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, every, catch_exceptions=False).exit_code == 0
    (cell,) = json.loads((tmp_path / "eval.json").read_text())["cells"]
    assert cell["latent_steps"] == 5


@pytest.mark.parametrize("command", ["eval", "run"])
def test_rmas_eval_and_run_take_device_and_precision(
    system: System, agents: dict[str, LoadedAgent], tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, links, questions = (tmp_path / name for name in ("system.yaml", "links.json", "q.jsonl"))
    declared.write_text(yaml.safe_dump(system.model_dump(mode="json", by_alias=True, exclude={"edges"})))
    make_links(system, agents).to_file(system.name, {}).save(links)
    records = hop.questions(1, 2)
    questions.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in records))
    asked = ["--data", str(questions)] if command == "eval" else ["--question", records[0].question]

    def call(name: str, *options: str) -> tuple[Any, Any]:
        kept = ["--out", str(tmp_path / name)] if command == "eval" else ["--trace", str(tmp_path / f"{name}.json")]
        every = [command, str(declared), "--links", str(links), *asked, *kept, *options]
        result = CliRunner().invoke(app, every, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if command == "eval":
            return [cell["right"] for cell in json.loads((tmp_path / name / "eval.json").read_text())["cells"]], None
        trace = json.loads((tmp_path / f"{name}.json").read_text())
        return trace["answer"], [turn["thoughts"] for turn in trace["turns"]]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plain = call("plain")
    assert plain == call("named", "--device", "cpu", "--precision", "float32", "--threads", "1")
    _, rounded = call("rounded", "--device", "cpu", "--precision", "bfloat16")
    assert (rounded != plain[1]) == (command == "run")
    with pytest.raises(InputError, match="sees no CUDA device"):
        call("gpu", "--device", "cuda")


def test_load_recursion_loads_agents_as_asked(system: System) -> None:
    for precision, dtype in (("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        recursion = load_recursion(system, None, "cpu", precision)  # type: ignore[arg-type]
        assert {agent.dtype for agent in recursion.agents.values()} == {dtype}


def test_aggregate_means_over_seeds_and_never_claims_certainty() -> None:
    def cell(row: str, correct: str, seed: int) -> dict[str, Any]:
        base = {"mode": "latent", "rounds": 3, "latent_steps": 2, "control": "none", "time_ms": 1.0}
        return {"row": row, "seed": seed, **base, "decoded_tokens": 1.0, "forward_positions": 9.0, "correct": correct}

    first = [cell("all", "1" * 50, 0), cell("some", "1" * 40 + "0" * 10, 0)]
    raw = [{"cells": first}, {"cells": [cell("all", "1" * 50, 2)]}]
    every, some = aggregate(raw)
    assert (every["accuracy"], every["seeds"], every["questions_per_seed"]) == (1.0, 2, 50)
    assert 0.9 < every["low"] < 0.95 and every["high"] == 1.0
    assert (some["accuracy"], some["accuracy_by_seed"], some["seeds"]) == (0.8, [0.8], 1)
    assert (every["measured_seeds"], some["measured_seeds"]) == ([0, 2], [0])
    assert some["low"] < 0.7 and some["high"] > 0.88


def test_pictures_mark_what_is_not_of_all_seeds() -> None:
    def row(rounds: int, *seeds: int) -> dict[str, Any]:
        return {"rounds": rounds, "seeds": len(seeds), "measured_seeds": list(seeds)}

    every = [row(1, 0, 1, 2), row(3, 0, 1, 2)]
    rows = [*every, row(4, 0), row(3, 1, 2)]
    assert seeds_of_line(every, rows) == ""
    assert seeds_of_line([*every, row(4, 0)], rows) == " (r=4: seed 0)"
    assert seeds_of_line([row(2, 0), row(3, 0)], rows) == ", seed 0"
    assert seeds_of_line([row(3, 1, 2)], rows) == ", seeds 1, 2"
    assert seeds_of_line([row(3, 0)], [row(3, 0)]) == "", "a single seed is all of them"


def test_gradient_norms_are_medians_over_seeds_and_steps_by_edge_and_round() -> None:
    key = "handoff_gradient/solver->reader/"
    logs = {
        0: [{f"{key}1": 0.1, f"{key}2": 1.0, "loss": 3.0}, {f"{key}1": 0.3, f"{key}2": 2.0}],
        1: [{f"{key}1": 0.2, f"{key}2": 9.0}],
    }
    assert gradient_norms(logs) == {"solver->reader": {"1": 0.2, "2": 2.0}}
    assert gradient_norms({}) == {}
