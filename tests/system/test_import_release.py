"""`rmas import-release`: what a copy of the paper's code says becomes a system, and what it may not do."""

import datetime
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.system import released_code
from recursivemas.system.errors import InputError
from recursivemas.system.import_release import import_release
from recursivemas.system.prompt import Latent, Text, fill, parse_template
from recursivemas.system.released_settings import STYLES, Style
from recursivemas.system.system import System, load_system
from tests.system.made_release import make_release

DAY = datetime.date(2026, 1, 31)


@pytest.fixture(params=[False, True], ids=["May", "June"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy in either layout."""
    return make_release(tmp_path / "copy", request.param)


@pytest.fixture
def theirs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The copy's module of prompts."""
    monkeypatch.syspath_prepend(str(released_code.code_folder(checkout)))
    before = set(sys.modules)
    yield importlib.import_module("prompts")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(checkout: Path, style: Style = "sequential-light", task: str = "math") -> System:
    return import_release(checkout, style, task, checkout.parent / "mine.yaml", {}, date=DAY)


def filled(template: str, values: dict[str, str], slots: dict[str, str]) -> str:
    """A prompt as its agent reads it, with the copy's marks in place of hand-offs."""
    return "".join(
        segment.text if isinstance(segment, Text) else slots[segment.edge]
        for segment in fill(parse_template(template), values)
        if isinstance(segment, Text | Latent)
    )


def test_import_takes_prompts_settings_and_names_from_the_copy(checkout: Path, theirs: Any) -> None:
    system = imported(checkout)
    planner, critic, solver = system.agents
    slots = {"solver->planner": "[[feedback]]", "planner->critic": "[[plan]]", "critic->solver": "[[refined]]"}
    values = {"question": "Is {x} 1?"}
    asked = values["question"]
    assert filled(planner.prompt_for(0), values, slots) == theirs.build_math_planner_prompt(asked)
    assert filled(planner.prompt, values, slots) == theirs.build_math_planner_prompt_with_feedback_slot(asked)
    assert filled(critic.prompt, values, slots) == theirs.build_math_refiner_prompt_with_slot(asked)
    assert filled(solver.prompt, values, slots) == theirs.build_math_solver_prompt_with_slots(asked)
    assert {agent.system for agent in system.agents} == {"Be brief."}
    assert [agent.model for agent in system.agents] == [
        f"made/sequential_light-{role}-Qwen3" for role in ("planner", "critic", "solver")
    ]
    assert {agent.chat_template_options.enable_thinking for agent in system.agents} == {False}
    assert {agent.stop for agent in system.agents} == {"eos_token"}
    assert (system.name, system.rounds, system.latent_steps) == ("mine", 3, 48)
    decoding = system.decoding
    assert (decoding.max_new_tokens, decoding.temperature, decoding.top_p, decoding.seed) == (700, 0.6, 0.9, 42)
    assert (decoding.top_k, decoding.repetition_penalty, decoding.max_tool_calls) == (None, 1.0, None)
    assert decoding.answer_retry is not None
    assert decoding.answer_retry.append == "\nThe result: \\boxed{"
    assert (decoding.answer_retry.needs, decoding.answer_retry.max_new_tokens) == ("box", 16)
    assert system.released_links is not None
    assert (system.released_links.outer, system.released_links.task) == ("made/sequential_light-outer-Qwen3", "math")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("task", ["math", "gpqa", "mbppplus", "livecodebench"])
def test_import_knows_every_style_and_kind_of_question(tmp_path: Path, style: Style, task: str) -> None:
    system = imported(make_release(tmp_path / "copy", june=True), style, task)
    assert load_system(tmp_path / "mine.yaml") == system
    scoped = style in ("sequential-light", "sequential-scaled", "distillation")
    assert system.released_links is not None
    assert system.released_links.task == (None if not scoped else "code" if task == "mbppplus" else "math")
    deciding = system.deciding_agent
    assert deciding.tools == (("python", "search") if style == "deliberation" else ())
    assert deciding.system == ("Use <search> and {python}." if style == "deliberation" else "Be brief.")
    assert system.decoding.max_tool_calls == (5 if style == "deliberation" else None)


def test_settings_are_those_of_the_data_set(tmp_path: Path) -> None:
    checkout = make_release(tmp_path / "copy", june=True)
    system = imported(checkout, "mixture", "livecodebench")
    assert (system.rounds, system.latent_steps, system.decoding.temperature) == (2, 16, 0.2)
    assert system.decoding.answer_retry is not None
    assert system.decoding.answer_retry.append == "\nOnly code:\n```python\n"
    assert system.decoding.answer_retry.max_new_tokens == 256
    assert imported(checkout, "mixture", "choice").agents[-1].prompt.endswith("Box a letter.")


def test_choices_end_with_the_copys_sentence(checkout: Path, theirs: Any) -> None:
    asked = "Which?\nA. one\nB. two\nC. three\nD. four"
    for task, args in (("medqa", None), ("gpqa", type("Args", (), {"choice_old_prompt": 2}))):
        solver = imported(checkout, task=task).deciding_agent
        expected = theirs.build_math_solver_prompt_with_slots(f"{asked}\n\nPick a letter.", args)
        assert filled(solver.prompt, {"question": asked}, {"critic->solver": "[[refined]]"}) == expected
        asking = f"{asked}\nChoose the correct option."
        values = {"question": asking, "instructed": "yes"}
        expected = theirs.build_math_solver_prompt_with_slots(asking, args)
        assert filled(solver.prompt, values, {"critic->solver": "[[refined]]"}) == expected


@pytest.mark.parametrize("fn_name", ["solve", ""])
@pytest.mark.parametrize("assertions", ["assert solve(1) == {}\nassert solve(2)", ""])
def test_code_prompts_depend_on_the_columns_as_the_copys_do(
    checkout: Path, theirs: Any, fn_name: str, assertions: str
) -> None:
    values = {"question": "unused", "statement": "Add them.", "assertions": assertions, "fn_name": fn_name}
    asked = "Add them." + (f"\n\nIt passes:\n{assertions}" if assertions else "")
    slots = {"solver->planner": "[[feedback]]", "planner->critic": "[[plan]]", "critic->solver": "[[refined]]"}
    planner, critic, solver = imported(checkout, task="code").agents
    given = (asked, "function")
    assert filled(planner.prompt_for(0), values, slots) == theirs.build_code_planner_prompt(*given, fn_name)
    assert filled(critic.prompt, values, slots) == theirs.build_code_refiner_prompt_with_slot(*given, fn_name)
    solved = theirs.build_code_solver_prompt_with_slots(*given, fn_name=fn_name)
    assert filled(solver.prompt, values, slots) == solved
    # May's runner gives later rounds the prompt for mathematics.
    later = (
        theirs.build_code_planner_prompt_with_feedback_slot(*given, fn_name)
        if checkout.joinpath("inference").is_dir()
        else theirs.build_math_planner_prompt_with_feedback_slot(asked)
    )
    assert filled(planner.prompt, values, slots) == later


def test_prompts_of_contests_depend_on_three_columns(tmp_path: Path) -> None:
    system = imported(make_release(tmp_path / "copy", june=True), "distillation", "livecodebench")
    shown = {
        (task_type, fn_name, code): filled(
            system.deciding_agent.prompt,
            {"statement": "Add.", "starter_code": code, "task_type": task_type, "fn_name": fn_name},
            {"expert->learner": "[[e]]"},
        )
        for task_type, fn_name, code in itertools.product(("function", "complete"), ("solve", ""), ("def solve():", ""))
    }
    assert shown["function", "solve", ""].startswith("Do [[e]]\nGive the function `solve`.\nAdd.\n")
    assert shown["function", "", "def solve():"].count("Give a function.\nAdd.\n\nGo on from:\ndef solve():\n") == 1
    assert "Give a whole program.\nAdd.\n" in shown["complete", "solve", ""]


def broken(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return change


SOLVER = "def build_math_solver_prompt_with_slots(question, "
PLANNER = "def build_math_planner_prompt(question):\n"
FAULTS = {
    "no file": (
        lambda folder: (folder / "prompts.py").unlink(),
        r"prompts\.py is missing; expected a checkout with run",
    ),
    "no function": (
        broken("prompts.py", PLANNER, "def f(question):\n"),
        r"prompts\.py has no build_math_planner_prompt",
    ),
    "arguments": (broken("prompts.py", SOLVER, SOLVER + "mood, "), "needs the argument 'mood', which import-release"),
    "hangs": (broken("prompts.py", PLANNER, PLANNER + "    while True: pass\n"), "did not answer within 2 s"),
    "fails": (broken("prompts.py", PLANNER, PLANNER + "    1 / 0\n"), "fails: ZeroDivisionError: division by zero"),
    "no text": (broken("prompts.py", PLANNER, PLANNER + "    return 1\n"), "returns a int, expected a text"),
    "question": (broken("prompts.py", "Sketch a way.\\n{question}", "{question[1:]}"), "has the question 0 times"),
    "twice": (broken("prompts.py", "Sketch a way.", "{question}"), "has the question 2 times"),
    "torch": (broken("prompts.py", "import re", "import torch"), r"prompts\.py imports torch, which is neither"),
    "network": (
        broken("prompts.py", "import re", "import socket; socket.create_connection(('127.0.0.1', 9))"),
        "asks for socket",
    ),
    "process": (broken("prompts.py", PLANNER, PLANNER + "    import os; os.system('true')\n"), "asks for os.system"),
    "writes": (broken("prompts.py", PLANNER, PLANNER + "    open('x', 'w')\n"), "writes to 'x'"),
    "writes below": (
        broken("prompts.py", PLANNER, PLANNER + "    import os; os.open('x', os.O_CREAT | os.O_WRONLY)\n"),
        "writes to 'x'",
    ),
    "memory": (broken("prompts.py", PLANNER, PLANNER + "    bytearray(1 << 40)\n"), "needs too much memory"),
    "syntax": (broken("prompts.py", "import re", "import re:"), "cannot be imported: SyntaxError"),
    "no style": (broken("load_from_repo.py", "sequential_light", "other"), "knows no style 'sequential_light'"),
    "run.py": (broken("run.py", "module.main()", "None"), "ends without starting a program"),
    "run.py fails": (broken("run.py", "print(", "1 / 0, print("), r"run\.py cannot be run: ZeroDivisionError"),
    "no slot": (
        broken("prompts.py", "{PLANNER_SLOT}", "it"),
        "must have the slot {latent:planner->critic} exactly once",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=list(FAULTS))
def test_import_says_in_one_line_what_is_wrong_with_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], message: str
) -> None:
    monkeypatch.setattr(released_code, "_SECONDS", 2)
    checkout = make_release(tmp_path / "copy")
    change(checkout)
    with pytest.raises(InputError, match=message) as caught:
        imported(checkout)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine.yaml").exists()


def test_import_refuses_options_that_do_not_fit(tmp_path: Path) -> None:
    checkout, out = make_release(tmp_path / "copy"), tmp_path / "mine.yaml"
    for task, message in (
        ("aime25", "invalid choice: 'aime25'"),
        ("poems", "expected one of math, choice, code, math500"),
    ):
        with pytest.raises(InputError, match=message):
            import_release(checkout, "mixture", task, out, {})
    with pytest.raises(InputError, match="has the roles math, code, science, summarizer"):
        import_release(checkout, "mixture", "math", out, {"planner": tmp_path})
    with pytest.raises(InputError, match="no such folder"):
        import_release(checkout, "mixture", "math", out, {"math": tmp_path / "nowhere"})


def test_command_says_that_it_runs_the_copys_code_and_what_comes_next(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    options = ["--style", "distillation", "--task", "code", "--out", str(out), "--date", "2026-01-31"]
    result = CliRunner().invoke(app, ["import-release", str(checkout), *options])
    assert result.exception is None
    said = " ".join(result.output.split())
    assert f"running code from {checkout}: the functions that write its prompts and settings" in said
    assert f"next: rmas links convert {out} --out {tmp_path / 'links' / 'mine.recursivelink.json'}" in said
    assert load_system(out).pattern == "distillation"
    wrong = CliRunner().invoke(app, ["import-release", str(checkout), *options, "--agents", "expert"])
    assert str(wrong.exception) == "--agents 'expert': expected ROLE=FOLDER"
    nowhere = CliRunner().invoke(app, ["import-release", str(tmp_path / "nowhere"), *options])
    assert "no copy of the paper's code" in str(nowhere.exception)
    assert nowhere.output == "", "nothing ran, so nothing says that it does"
