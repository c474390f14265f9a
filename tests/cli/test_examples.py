"""The examples in Python, run as their READMEs say."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recursivemas.system.system import load_system
from recursivemas.training.tools import ToolAccess, answer_call

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(*command: str | Path, text: str | None = None) -> str:
    """Runs a program of an example; returns what it printed."""
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, input=text, cwd=EXAMPLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_folder_of_the_list_has_a_test_and_a_readme_whose_links_lead_somewhere() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    files = ("cli/test_examples.py", "cli/test_notebook.py", "browser/test_web_examples.py")
    tests = "".join(read(ROOT / "tests" / name) for name in files)
    assert [name for name in listed if f"{name}/" not in tests and f'"{name}"' not in tests] == []
    for path in [EXAMPLES / "README.md", *(EXAMPLES / name / "README.md" for name in listed)]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_tool_finds_lines_by_words_and_an_agent_can_call_it() -> None:
    example = runpy.run_path(str(EXAMPLES / "custom-tool/run.py"))
    system = load_system(EXAMPLES / "custom-tool/system.yaml")
    access = ToolAccess(search=example["TOOL"])
    access.check(system.deciding_agent)
    said = answer_call("Let me see. <search>opening hours saturday</search>", system.deciding_agent.tools, access)
    assert said is not None and said.startswith(" <result> Opening hours of the library: Monday")
    assert answer_call("<search>zebra</search>", system.deciding_agent.tools, access) == (
        " <result> nothing found </result>"
    )
    shown = run(EXAMPLES / "custom-tool/lookup.py", EXAMPLES / "custom-tool/notes.txt", text="how many seats")
    assert shown.startswith("The reading room has forty seats")


def test_system_is_a_node_of_a_langgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langgraph")
    monkeypatch.syspath_prepend(str(EXAMPLES / "langgraph"))
    shown = run(EXAMPLES / "langgraph/run.py").splitlines()
    assert shown.count("custom {'agent': 'critic', 'round': 3}") == 1
    assert [line for line in shown if line.startswith("custom {'text'")] == ["custom {'text': 'j'}"]
    assert shown[-1].endswith("'report': 'After 3 rounds: town j.'}")


@pytest.mark.slow
def test_custom_pattern_trains_and_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = run(EXAMPLES / "custom-pattern/run.py", "--out", out, "--steps", "2", "--limit", "60")
    assert (out / "recursivelink.json").is_file()
    accuracies = [float(each) for each in re.findall(r"^\d rounds: ([\d.]+) \(", shown, re.MULTILINE)]
    assert len(accuracies) == 3
    assert "round 1, planner hands over on: planner->critic, shortcut" in shown
    assert shown.splitlines()[-1].startswith("answer: ")


@pytest.mark.slow
def test_own_agents_answer_together_what_neither_can_alone(tmp_path: Path) -> None:
    shown = run(EXAMPLES / "own-agents/make.py", "--out", tmp_path)
    right = {mode: int(number) for mode, number in re.findall(r"^(\w+): (\d+) of 16 held-out", shown, re.MULTILINE)}
    assert right["text"] == 16
    assert right["latent"] >= 15
    assert right["single"] < 8
    assert "paris: the geographer thinks 'france', the linguist says 'french'" in shown
    declared = yaml.safe_load((tmp_path / "system.yaml").read_text(encoding="utf-8"))
    assert load_system(tmp_path / "system.yaml").name == declared["name"] == "languages"
