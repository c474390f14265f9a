"""The public interface of Python: what it gives, what it refuses, and that the command line gives the same."""

import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import recursivemas as rm
from recursivemas.cli.app import app
from recursivemas.system.questions import load_questions

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "systems/hop-sequential.yaml"
LINKS = ROOT / "systems/links/hop-sequential.recursivelink.json"
DATA = ROOT / "systems/data/hop-test.jsonl"
QUESTION = load_questions(DATA)[5].question


@pytest.fixture(scope="module")
def system() -> rm.LoadedSystem:
    return rm.load(SYSTEM, links=LINKS, device="cpu")


@pytest.fixture(scope="module")
def answer(system: rm.LoadedSystem) -> rm.Answer:
    return system.ask(QUESTION, mode="latent", rounds=3)


class Parsed(HTMLParser):
    """Elements, attributes and texts of a piece of HTML; it must be well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag != "br":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_import_loads_neither_torch_nor_tvm_nor_pydantic() -> None:
    script = (
        "import sys, recursivemas\n"
        "heavy = {'torch', 'tvm', 'pydantic', 'numpy', 'transformers', 'typer'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(recursivemas.__all__) <= set(dir(recursivemas))\n"
        "recursivemas.InputError, recursivemas.Answer, recursivemas.train, recursivemas.compile\n"
        "assert not {'torch', 'tvm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_exists_and_others_do_not() -> None:
    for name in rm.__all__:
        assert getattr(rm, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        rm.loads  # noqa: B018


def test_answer_has_its_trace_and_its_counts(answer: rm.Answer) -> None:
    (right,) = {each.answer for each in load_questions(DATA) if each.question == QUESTION}
    assert answer.answer == str(answer) == right
    turns = answer.trace.turns
    assert [(turn.round, turn.agent) for turn in turns] == [
        (r, agent) for r in (1, 2, 3) for agent in ("planner", "critic", "solver")
    ]
    assert [turn.thoughts.shape for turn in turns[:3] if turn.thoughts is not None] == [(2, 96), (2, 128), (2, 160)]
    assert all(len(turn.words) == 2 for turn in turns)
    assert turns[0].hand_offs["planner->critic"].shape == (2, 128)
    assert turns[0].hand_offs["planner->critic"].dtype == np.float32
    assert answer.rounds == 3 and answer.decoded_tokens == 1 and answer.forward_positions > 0
    json.dumps(answer.record())


@pytest.mark.parametrize("mode", ["latent", "text", "loop", "single"])
def test_stream_gives_the_same_turns_text_and_answer_as_ask(system: rm.LoadedSystem, mode: str) -> None:
    options = {"mode": mode, "rounds": 2, "temperature": 0.8, "seed": 3}
    asked = system.ask(QUESTION, **options)  # type: ignore[arg-type]
    *events, last = system.stream(QUESTION, **options)  # type: ignore[arg-type]
    assert isinstance(last, rm.Answer)
    turns = [event for event in events if isinstance(event, rm.Turn)]
    pieces = [event for event in events if isinstance(event, str)]
    assert [turn.agent for turn in turns] == [turn.agent for turn in asked.trace.turns]
    assert "".join(pieces) == last.answer == asked.answer
    if mode == "latent":
        assert events.index(pieces[0]) > events.index(turns[-1])


def test_closing_a_stream_ends_its_run(system: rm.LoadedSystem) -> None:
    events = system.stream(QUESTION, rounds=60)
    assert isinstance(next(events), rm.Turn)
    events.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "recursivemas-stream"]


def test_errors_of_a_stream_reach_its_reader() -> None:
    without_links = rm.load(SYSTEM, device="cpu")
    with pytest.raises(rm.InputError, match="needs links"):
        list(without_links.stream(QUESTION))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 0}, "rounds: expected a whole number from 1 to 64, got 0"),
        ({"latent_steps": 2.5}, "latent_steps: expected a whole number"),
        ({"mode": "telepathy"}, "mode 'telepathy' is unknown; expected one of latent, text"),
        ({"temperature": -1}, "temperature: expected at least 0"),
        ({"fields": {"group": 3}}, "group"),
    ],
)
def test_ask_and_stream_refuse_what_cannot_be_meant(
    system: rm.LoadedSystem, options: dict[str, object], said: str
) -> None:
    for call in (system.ask, system.stream):
        with pytest.raises(rm.InputError, match=said):
            call(QUESTION, **options)  # type: ignore[operator]


def test_evaluate_takes_a_file_or_rows_and_the_command_says_the_same(system: rm.LoadedSystem, tmp_path: Path) -> None:
    found = system.evaluate(DATA, mode=["latent", "single"], rounds=[1, 3], limit=12)
    assert [(cell.mode, cell.rounds) for cell in found.cells] == [("latent", 1), ("latent", 3), ("single", 1)]
    rows = [{"question": each.question, "answer": each.answer} for each in load_questions(DATA)[:12]]
    assert system.evaluate(rows, rounds=3).cells[0].correct == found.cells[1].correct
    found.save(tmp_path / "api")
    options = ["--mode", "latent,single", "--rounds", "1,3", "--limit", "12", "--device", "cpu"]
    command = ["eval", str(SYSTEM), "--links", str(LINKS), *options, "--out", str(tmp_path / "cli")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    reports = [json.loads((tmp_path / name / "eval.json").read_text()) for name in ("api", "cli")]
    for report in reports:
        for cell in report["cells"]:
            del cell["time_ms"]
    assert reports[0] == reports[1]
    shown = Parsed(found._repr_html_())
    assert shown.tags.count("tr") == 4 and f"{found.cells[1].accuracy:.3f}" in shown.texts


def test_run_writes_the_record_of_the_answer(answer: rm.Answer, tmp_path: Path) -> None:
    command = ["run", str(SYSTEM), "--links", str(LINKS), "--question", QUESTION, "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, "--trace", str(tmp_path / "trace.json")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written, own = json.loads((tmp_path / "trace.json").read_text()), answer.record()
    for record in (written, own):
        for timed in (record, *record["turns"]):
            del timed["duration_ms"]
    assert written == own
    assert f"answer: {answer.answer}" in result.output


def test_evaluate_refuses_no_questions_and_unknown_controls(system: rm.LoadedSystem) -> None:
    with pytest.raises(rm.InputError, match="at least one row"):
        system.evaluate([])
    with pytest.raises(rm.InputError, match="control 'ones' is unknown"):
        system.evaluate(DATA, control="ones", limit=1)  # type: ignore[arg-type]


def test_trace_draws_graph_words_and_heatmaps(answer: rm.Answer) -> None:
    shown = Parsed(answer._repr_html_())
    assert shown.tags.count("svg") == 1 + 3
    assert shown.tags.count("polygon") == len(answer.trace.edges)
    assert shown.tags.count("code") == 9 * 2
    squares = shown.tags.count("rect") - 3
    assert squares == 3 * 6 * 6
    assert "planner->critic" in shown.texts and "solver->planner, read in the next round" in shown.texts


def test_trace_shows_hostile_texts_as_texts(answer: rm.Answer) -> None:
    hostile = "</code><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    turns = tuple(replace(turn, words=(hostile,) * 2) for turn in answer.trace.turns)
    written = tuple(replace(turn, text=hostile) for turn in answer.trace.turns[:1])
    agents = dict.fromkeys(answer.trace.agents, hostile)
    trace = replace(answer.trace, agents=agents, turns=turns + written)
    shown = Parsed(replace(answer, question=hostile, answer=hostile, system=hostile, trace=trace)._repr_html_())
    assert not {"script", "img"} & set(shown.tags)
    assert not [name for name in shown.attributes if name.startswith("on")]
    assert hostile in shown.texts


def test_trace_of_many_thoughts_stays_small(answer: rm.Answer) -> None:
    turn = answer.trace.turns[0]
    many = np.random.default_rng(0).normal(size=(1000, 96)).astype(np.float32)
    html = replace(answer.trace, turns=(replace(turn, thoughts=many, words=("a",) * 1000),))._repr_html_()
    assert Parsed(html).tags.count("code") == 64
    assert "and 936 more" in html and "40 of 1000 thoughts" in html


def test_missing_torch_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(rm.InputError, match=r"needs torch, which is not installed.*recursivemas\[train\]"):
        rm.load(SYSTEM)
    with pytest.raises(rm.InputError, match="needs torch, accelerate, matplotlib"):
        rm.train(SYSTEM, "out")


@pytest.mark.parametrize(
    ("asked", "built"),
    [
        ({}, ("q4f32_1", ["q4f16_1"])),
        ({"quantization": "q4f16_1"}, ("q4f16_1", [])),
        ({"variants": ["q0f32"]}, ("q4f16_1", ["q0f32"])),
    ],
    ids=["the system's own", "one quantization", "named variants"],
)
def test_build_includes_the_fallbacks_of_the_system_unless_it_is_told_otherwise(
    asked: dict[str, Any], built: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = ROOT / "systems/townsfolk.yaml"
    text = system.read_text(encoding="utf-8")
    assert "\nquantization: q4f16_1\nfallbacks: [q4f32_1]" in text
    calls: list[tuple[str, list[str]]] = []

    def build_system(*given: Any) -> None:
        calls.append((given[3].quantization, list(given[6])))

    monkeypatch.setattr("recursivemas.release.package.build_system", build_system)
    rm.build(system, tmp_path / "links.json", tmp_path / "out", **asked)
    assert calls == [built]


def test_compile_checks_before_it_downloads(tmp_path: Path) -> None:
    with pytest.raises(rm.InputError, match="q5"):
        rm.compile("owner/no-such-model", tmp_path / "agent", quantization="q5")


def test_examples_of_the_document_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    (tmp_path / "systems").symlink_to(ROOT / "systems")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    answer = names["answer"]
    assert isinstance(answer, rm.Answer) and answer.answer == "d"
    assert (tmp_path / "runs/measured/eval.png").is_file()
    documented = re.findall(r"^\| `(?:rm|system)\.(\w+)", text, re.MULTILINE)
    assert set(documented) == {"load", "ask", "stream", "evaluate", "train", "compile", "build"}
