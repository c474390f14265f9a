"""`rmas eval --profile released`: settings, both scores, interrupted and shared runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system.errors import InputError
from recursivemas.system.released_settings import SET_NAMES, released_settings, style_of
from recursivemas.system.settings import AnswerRetry
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.evaluation.code_process import refusal
from recursivemas.training.evaluation.released import judge, released_system, scores
from recursivemas.training.evaluation.released_sets import SETS, load_set
from recursivemas.training.evaluation.results import Results
from recursivemas.training.tasks import hop
from tests.training.conftest import make_links

QUESTIONS = 7
Command = Callable[..., list[str]]


@pytest.fixture
def command(system: System, agents: dict[str, LoadedAgent], tmp_path: Path) -> Command:
    """The command line of a run of seven questions, three samples each, two at a time."""
    declared = tmp_path / "system.yaml"
    declared.write_text(yaml.safe_dump(system.model_dump(mode="json", by_alias=True, exclude={"edges"})))
    links = tmp_path / "links.json"
    make_links(system, agents).to_file(system.name, {}).save(links)
    data = tmp_path / "math.jsonl"
    rows = [{"problem": each.question, "answer": each.answer, "level": 1} for each in hop.questions(1, QUESTIONS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(out: Path, *more: str) -> list[str]:
        every = ["eval", str(declared), "--links", str(links), "--profile", "released", "--set", "math500"]
        every += ["--data", str(data), "--style", "sequential-light", "--rollouts", "3", "--batch-size", "2"]
        every += ["--latent-steps", "2", "--rounds", "2", "--max-new-tokens", "4", "--temperature", "0.8"]
        return [*every, "--device", "cpu", "--out", str(out), *more]

    return make


def invoke(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_profile_writes_both_scores_and_a_line_for_each_question(command: Command, tmp_path: Path) -> None:
    output = invoke(command(tmp_path / "out"))
    assert "[####################] 21 of 21" in output
    lines = results(tmp_path / "out")
    assert [line["index"] for line in lines] == list(range(QUESTIONS))
    assert [line["question"] for line in lines] == [each.question for each in hop.questions(1, QUESTIONS)]
    for line in lines:
        for key in ("answers", "released", "ours", "decoded_tokens", "forward_positions"):
            assert len(line[key]) == 3
        assert min(line["forward_positions"]) > 10
    assert any(len(set(line["answers"])) > 1 for line in lines), "samples of a question differ"
    report = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert [score["rules"] for score in report["scores"]] == ["released", "ours"]
    assert (report["settings"]["rollouts"], report["settings"]["latent_steps"], report["questions"]) == (3, 2, 7)


def test_profile_goes_on_where_it_was_stopped(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(command(tmp_path / "whole"))
    append = Results.append
    calls = []

    def stopped(self: Results, lines: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            with (self.folder / "results.0.jsonl").open("a") as file:
                file.write('{"index": 4, "question": "cut o')
            raise RuntimeError("killed")
        append(self, lines)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Results, "append", stopped)
        invoke(command(tmp_path / "again"))
    assert (tmp_path / "again" / "results.0.jsonl").read_text().count("\n") == 4
    assert "9 of 9" in invoke(command(tmp_path / "again")), "only two batches, of two questions and of one, are left"
    assert (tmp_path / "again" / "results.jsonl").read_bytes() == (tmp_path / "whole" / "results.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["eval.json", "results.jsonl", "run.json"]
    with pytest.raises(InputError, match=r"holds results of another run: settings is .*; choose another --out"):
        invoke(command(tmp_path / "again", "--seed", "7"))


@pytest.mark.slow
def test_two_processes_finish_what_a_killed_one_began(command: Command, tmp_path: Path) -> None:
    invoke(command(tmp_path / "one"))
    program = [sys.executable, "-m", "recursivemas.cli.app", *command(tmp_path / "two"), "--threads", "1"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = tmp_path / "two" / "results.0.jsonl"
    while first.poll() is None and not (part.exists() and part.read_text()):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--no-python"]
    done = subprocess.run([*launch, *program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("eval.json") == 1, "only the main process writes and says so"
    assert (tmp_path / "two" / "results.jsonl").read_bytes() == (tmp_path / "one" / "results.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "gsm8k"], "--set 'gsm8k': expected one of math500, aime25"),
        (["--set", "mbppplus"], "pass --run-code"),
        (["--style", "large"], "--style 'large': expected one of sequential-light"),
        (["--mode", "latent,text"], "takes one --mode"),
        (["--rounds", "1,2"], "--profile takes one number"),
    ],
)
def test_profile_refuses_what_it_cannot_use(command: Command, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        invoke(command(tmp_path / "out", *more))


def test_style_of_reads_the_name_of_a_system() -> None:
    assert style_of("sequential-scaled-math") == "sequential-scaled"
    with pytest.raises(InputError, match="pass --style, one of sequential-light"):
        style_of("mine")


def test_released_system_decodes_as_the_set_says_and_keeps_its_own_retry(system: System) -> None:
    decoding = released_system(system, released_settings("gpqa", "sequential-scaled")).decoding
    assert (decoding.max_new_tokens, decoding.temperature, decoding.top_p, decoding.top_k) == (4000, 0.6, 0.95, None)
    assert decoding.answer_retry is not None and decoding.answer_retry.needs == "choice"
    own = AnswerRetry(needs="code", append="\nOnly the code:\n")
    declared = system.model_copy(update={"decoding": system.decoding.model_copy(update={"answer_retry": own})})
    kept = released_system(declared, released_settings("mbppplus", "mixture")).decoding.answer_retry
    assert kept is not None and (kept.append, kept.max_new_tokens) == ("\nOnly the code:\n", 256)


def test_scores_count_samples_and_questions() -> None:
    lines = [
        {"released": [True, True], "ours": [True, False]},
        {"released": [False, False], "ours": [False, False]},
    ]
    released, ours = scores(lines)
    assert (released.accuracy, released.pass_at_k) == (0.5, 0.5)
    assert (ours.accuracy, ours.pass_at_k) == (0.25, 0.5)
    assert ours.low < 0.25 < ours.high


@pytest.mark.skipif(refusal() is not None, reason=str(refusal()))
def test_judge_gives_both_verdicts_of_each_kind(tmp_path: Path) -> None:
    def question(name: Any, **row: Any) -> Any:
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        return load_set(name, str(path))[0], released_settings(name, "sequential-light")

    assert judge(r"\boxed{3.9}", *question("math500", problem="?", answer="3.1")) == (True, False)
    medqa = question("medqa", question="?", options=["one", "two", "three", "four"], answer="one")
    assert judge("I do not know.", *medqa) == (True, False)
    program = question("mbppplus", prompt="Add.", test="assert plus(1, 2) == 3", test_list=[])
    assert judge("def plus(a, b): return a + b", *program) == (False, True)


def test_table_of_the_documentation_has_the_settings() -> None:
    text = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    for name in SET_NAMES:
        each = [released_settings(name, style) for style in ("sequential-light", "sequential-scaled", "mixture")]
        steps = ", ".join(str(settings.latent_steps) for settings in each)
        light, others = (settings.max_new_tokens for settings in each[::2])
        tokens = str(light) if light == others else f"{light} (Light), {others}"
        row = (name, f"`{SETS[name].source}`", steps, tokens, each[0].temperature, each[0].rollouts)
        assert f"| {' | '.join(map(str, row))} |" in text, name
