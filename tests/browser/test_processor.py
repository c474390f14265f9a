"""The engine without a GPU: the same worker and the same files, agents on the processor, against PyTorch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from harness.chromium import launch
from harness.engine_node import EngineNode, open_engine
from harness.engine_page import serving
from harness.playground import open_playground
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def engine(harness: Path, shipped_system: Path) -> Iterator[EngineNode]:
    """The default system on the processor. The GPU that Node offers does nothing, so nothing can come from it."""
    with open_engine(harness, shipped_system.parent, idle=True) as opened:
        loaded = opened.load(shipped_system, runtime="processor")
        assert loaded["device"]["runtime"] == "processor"
        yield opened


def asked(reference: Recursion, count: int) -> list[str]:
    assert reference.system.task is not None and reference.system.task.data is not None
    return [each.question for each in load_questions(reference.system.task.data)[:count]]


def test_processor_gives_the_answers_and_hand_offs_of_pytorch(engine: EngineNode, reference: Recursion) -> None:
    worst = 0.0
    for question in asked(reference, 4):
        came = engine.run(question, rounds=3, trace={"handoffs": True, "thoughts": True, "lensTopK": 2})
        expected = reference.run([question], rounds=3)
        assert came["answer"] == expected.texts[0]
        assert came["answerTokenIds"] == expected.token_ids[0]
        assert sum(turn["forwardPositions"] for turn in came["turns"]) == expected.forward_positions[0]
        handed = [(each["edge"], states(each["states"])) for each in came["handoffs"]]
        wanted = [(edge, rows[0].numpy()) for turn in expected.turns for edge, rows in turn.hand_offs.items()]
        # The last turn answers, and hands nothing over.
        assert [edge for edge, _ in handed] == [edge for edge, _ in wanted]
        for (_, got), (_, right) in zip(handed, wanted, strict=True):
            worst = max(worst, float(np.abs(got - right).max() / np.abs(right).max()))
        assert all(len(row) == 2 for turn in came["turns"] if "lens" in turn for row in turn["lens"])
    assert 0 < worst < TOLERANCE


def states(matrix: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(matrix["data"], np.float32).reshape(matrix["rows"], matrix["columns"])


@pytest.mark.parametrize("mode", ["text", "single", "loop"])
def test_processor_runs_every_mode(engine: EngineNode, reference: Recursion, mode: Any) -> None:
    (question,) = asked(reference, 1)
    came = engine.run(question, rounds=2, mode=mode)
    assert came["answerTokenIds"] == reference.run([question], rounds=2, mode=mode).token_ids[0]


def test_processor_asks_nothing_of_a_gpu(engine: EngineNode, reference: Recursion) -> None:
    before = engine.counters()
    result = engine.run(asked(reference, 1)[0], rounds=1)
    after = engine.counters()
    assert after["positions"] > before["positions"]
    assert all(value == 0 for name, value in after.items() if name != "positions")
    assert all(value == 0 for value in result["counters"].values())


@pytest.mark.browser
def test_visitor_without_webgpu_watches_small_agents_think(
    built: Path, shipped_system: Path, reference: Recursion
) -> None:
    with (
        launch(flags=["--disable-gpu", "--disable-features=WebGPU"]) as plain,
        serving(built, shipped_system.parent) as url,
        open_playground(plain, url) as playground,
    ):
        page = playground.page
        playground.open()
        playground.button.click()
        page.get_by_role("button", name="Run without a graphics card").click()
        expect(playground.button).to_contain_text("Run")
        expect(page.locator(".system-facts")).to_contain_text("without a graphics card · on the processor")
        playground.answered(1)
        assert playground.answer.split()[0] == reference.run(asked(reference, 1), rounds=3).texts[0]
        assert playground.figure("GPU memory") == "–"
        assert playground.complaints == []
