"""The examples in Python, run as their READMEs say."""

import itertools
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from recursivemas.system.system import load_system
from recursivemas.training.tiny.models import AgentSpec, build_model, build_tokenizer, save_agent
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


CHAINS = ("plan look <eos>", "go <search> opening hours </search>", "</result> it opens at ten <eos>")
"""What the agent below writes: each word follows the one before it."""


def save_agent_that_says_chains(folder: Path) -> None:
    """A model whose next word depends on the last one alone: layers add nothing, and the output table is the map."""
    read_words = f"<result> {read(EXAMPLES / 'custom-tool/notes.txt')}".split()
    words = sorted({*read_words, *(word for chain in CHAINS for word in chain.split())} - {"<eos>"})
    tokenizer = build_tokenizer(words, ("<unk>", "<bos>", "<eos>"), 0)
    size = tokenizer.get_vocab_size()
    spec = AgentSpec("chains", "llama", -(-size // 32) * 32, 32, 1, 1, seed=0, learning_rate=0, num_hidden_layers=1)
    model = build_model(spec, size, 1, 2)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, spec.hidden_size))
        model.lm_head.weight.zero_()
        for chain in CHAINS:
            ids = [tokenizer.token_to_id(word) for word in chain.split()]
            for word, following in itertools.pairwise(ids):
                model.lm_head.weight[following, word] = 1
    save_agent(folder, model, tokenizer, {})


def test_tool_answers_an_agent_that_calls_it(tmp_path: Path) -> None:
    save_agent_that_says_chains(tmp_path / "chains")
    declared = yaml.safe_load(read(EXAMPLES / "custom-tool/system.yaml"))
    for agent, prompt in zip(
        declared["agents"], ("{latent:solver->planner} plan", "{latent:planner->solver} go"), strict=True
    ):
        for key in ("chat_template", "chat_template_options", "first_round_prompt"):
            agent.pop(key, None)
        agent |= {"model": str(tmp_path / "chains"), "prompt": f"<bos> {{question}} {prompt}"}
    declared["agents"][0]["first_round_prompt"] = "<bos> {question} plan"
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    shown = run(EXAMPLES / "custom-tool/run.py", "--system", tmp_path / "system.yaml", "When does it open?")
    assert shown.startswith("<search> opening hours </search> <result> Opening hours of the library: Monday"), shown
    assert shown.rstrip().endswith("</result> it opens at ten"), shown


def test_system_is_a_node_of_a_langgraph() -> None:
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
