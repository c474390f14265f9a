"""The page and `rmas eval` answer and score the same 50 questions alike, although the clean-up changes the answers.

The tokenizer is WordPiece with `clean_up_tokenization_spaces: true`, so text of tokens loses spaces before punctuation.
"""

import csv
import json
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from playwright.sync_api import Browser, ConsoleMessage, expect
from typer.testing import CliRunner

from harness.engine_page import serving
from harness.playground import open_playground
from recursivemas.cli.app import app
from recursivemas.compiler import library, pipeline
from recursivemas.compiler.agent_folder import CompileOptions, compile_agent
from recursivemas.release.package import Supplied, build_system
from recursivemas.system.hub import resolve_model
from recursivemas.system.links_file import load_links
from recursivemas.system.system import load_system
from recursivemas.training.links import Links
from recursivemas.training.loading import load_recursion
from recursivemas.training.tiny.models import AgentSpec, build_model, build_tokenizer, save_agent

pytestmark = pytest.mark.browser

NAME = "polite"
MODES = ("latent", "text")
SPECIALS = ("<unk>", "<bos>", "<eos>")
# The clean-up takes spaces away before most of them.
WORDS = [
    *("he", "she", "it", "yes", "no", "well", "="),
    *(".", ",", "?", "!", "'", "n't", "'m", "'s", "'ve", "'re"),
]
SPEC = AgentSpec("talker", "llama", 48, 64, 3, 3, seed=2, learning_rate=1e-3, head_dim=16, num_hidden_layers=1)
COUNT = 50

SAID = "answered: "
# To inject with `open_playground`: the worker also writes each answer to the console.
TELL_ANSWERS = f"""
const post = self.postMessage.bind(self);
self.postMessage = (message) => {{
  const {{ mode, answer }} = message.result ?? {{}};
  if (answer !== undefined) console.log("{SAID}" + JSON.stringify([mode, answer]));
  post(message);
}};
"""


@dataclass(frozen=True)
class Measured:
    """The built system, and what `rmas eval` says of it.

    Attributes:
        system: The built system's folder.
        answers: By mode, the questions in order with `question`, `right_answer`, `answer` and `correct`.
        plain: By mode, the answers' tokens joined by spaces.
    """

    system: Path
    answers: dict[str, list[dict[str, Any]]]
    plain: dict[str, list[str]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    root = tmp_path_factory.mktemp(NAME)
    torch.set_num_threads(1)
    _write_agent(root / "talker")
    declaration, data, links = root / f"{NAME}.yaml", root / "questions.jsonl", root / "links.json"
    declaration.write_text(yaml.safe_dump(_declaration(root / "talker", data)), encoding="utf-8")
    system = load_system(declaration)
    torch.manual_seed(5)
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    sizes = {agent.id: SPEC.hidden_size for agent in system.agents}
    Links.create(sizes, edges, "ln_res", 24, 20).to_file(NAME, {}).save(links)

    recursion = load_recursion(system, load_links(links), "cpu", "float32", "dequantised")
    draw = random.Random(4)
    questions = [" ".join(draw.choices(WORDS, k=5)) for _ in range(COUNT)]
    plain = {}
    for mode in MODES:
        answers = recursion.run(questions, mode=mode)  # type: ignore[arg-type]
        name_of = recursion.deciding.tokenizer.convert_ids_to_tokens
        plain[mode] = [" ".join(each for each in name_of(ids) if each not in SPECIALS) for ids in answers.token_ids]
        if mode == "latent":
            # A third is right as the reference writes it, a third as it would be without the clean-up.
            right = [
                (text, spaced, "nowhere")[index % 3]
                for index, (text, spaced) in enumerate(zip(answers.texts, plain[mode], strict=True))
            ]
    records = [{"question": question, "answer": answer} for question, answer in zip(questions, right, strict=True)]
    data.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

    _build(declaration, links, root)
    command = ["eval", str(declaration), "--links", str(links), "--mode", ",".join(MODES), "--out", str(root / "eval")]
    result = CliRunner().invoke(app, [*command, "--weights", "dequantised"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    cells = json.loads((root / "eval" / "eval.json").read_text(encoding="utf-8"))["cells"]
    return Measured(root / "systems" / NAME, {cell["mode"]: cell["answers"] for cell in cells}, plain)


def _write_agent(folder: Path) -> None:
    """Random weights, livelier than at initialisation, and the key."""
    tokenizer = build_tokenizer(WORDS, SPECIALS, SPEC.seed)
    model = build_model(SPEC, tokenizer.get_vocab_size(), 1, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    save_agent(folder, model, tokenizer, {})
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"clean_up_tokenization_spaces": True}
    path.write_text(json.dumps(config), encoding="utf-8")


def _build(declaration: Path, links: Path, root: Path) -> None:
    """Builds the system with schedules for adapters that run on the CPU, as `build_for_software` does."""
    options = CompileOptions("q4f32_1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "compile_library", partial(library.compile_library, schedule="software"))
        patch.setattr(pipeline, "THREADS", 128)
        # The other agent has the same checkpoint, so the build asks for this one only.
        compile_agent(resolve_model(str(root / "talker"), None), root / "agents/asker", options)
    build_system(declaration, links, root / "systems" / NAME, options, supplied=Supplied(root / "agents"))


def _declaration(checkpoint: Path, data: Path) -> dict[str, Any]:
    senders = {"asker": "talker", "talker": "asker"}
    agents = [
        {"id": name, "role": name, "model": str(checkpoint), "prompt": f"<bos> {{question}} {{latent:{edge}}} go"}
        for name, edge in ((name, f"{sender}->{name}") for name, sender in senders.items())
    ]
    return {
        "version": 1,
        "name": NAME,
        "pattern": "sequential",
        "rounds": 1,
        "latent_steps": 2,
        "quantization": "q4f32_1",
        "agents": agents,
        "decoding": {"max_new_tokens": 5, "think_before_answer": True, "answer_prefix": "=", "text_tokens": 3},
        "task": {"name": NAME, "data": str(data), "scoring": "exact"},
    }


def test_clean_up_changes_many_of_the_reference_answers(measured: Measured) -> None:
    for mode in MODES:
        texts = [each["answer"] for each in measured.answers[mode]]
        changed = [text for text, plain in zip(texts, measured.plain[mode], strict=True) if text != plain]
        assert len(changed) > COUNT / 3
        assert len(set(changed)) > 10
        assert not any(f" {sign}" in text for text in texts for sign in ".,?!")
    marks = [each["correct"] for each in measured.answers["latent"]]
    assert all(marks[::3]) and not any(marks[2::3])
    assert 0 < sum(marks[1::3]) < len(marks[1::3])


def test_page_answers_and_scores_every_question_as_rmas_eval_does(
    browser: Browser, built: Path, measured: Measured, tmp_path: Path
) -> None:
    answers: dict[str, list[str]] = {mode: [] for mode in MODES}

    def listen(message: ConsoleMessage) -> None:
        if message.text.startswith(SAID):
            mode, answer = json.loads(message.text.removeprefix(SAID))
            answers[mode].append(answer)

    with serving(built, measured.system) as url, open_playground(browser, url, inject=TELL_ANSWERS) as page:
        page.page.on("console", listen)
        page.open()
        page.load()
        page.view("Measure")
        page.page.get_by_role("checkbox", name="Text", exact=True).check()
        page.page.get_by_label("Questions").select_option("72")  # more than there are
        measure = page.page.get_by_role("button", name="Measure", exact=True)
        measure.click()
        expect(page.page.locator(".survey-progress .fine")).to_have_text(f"{2 * COUNT} of {2 * COUNT} runs")
        expect(measure).to_be_enabled()
        with page.page.expect_download() as download:
            page.page.get_by_role("button", name="Save as CSV").click()
        download.value.save_as(tmp_path / "accuracy.csv")
        table = page.page.locator(".facts tbody tr").all_inner_texts()
        assert page.complaints == []
    rows = list(csv.DictReader((tmp_path / "accuracy.csv").read_text(encoding="utf-8").splitlines()))
    for mode, shown in zip(MODES, table, strict=True):
        expected = measured.answers[mode]
        assert len(expected) == COUNT
        assert answers[mode] == [each["answer"] for each in expected]
        marks = [(row["question"], row["right"]) for row in rows if row["mode"] == mode]
        assert marks == [(str(number), str(int(each["correct"]))) for number, each in enumerate(expected, 1)]
        assert f"{sum(each['correct'] for each in expected)} of {COUNT}" in shown
