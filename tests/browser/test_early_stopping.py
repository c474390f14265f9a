"""Early stopping in the browser: where PyTorch stops, with its hand-offs, and what the page says of it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.engine_page import EnginePage, assert_same_turns, serving
from harness.playground import open_playground
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser


def asked(reference: Recursion) -> list[str]:
    """Questions that the agents have solved after 1, 2 and 3 rounds."""
    assert reference.system.task is not None and reference.system.task.data is not None
    return [each.question for each in load_questions(reference.system.task.data)[:9:3]]


@pytest.mark.parametrize("think", [True, False])
def test_engine_stops_where_pytorch_stops(engine: EnginePage, reference: Recursion, think: bool) -> None:
    decoding = reference.system.decoding.model_copy(update={"think_before_answer": think})
    system = reference.system.model_copy(update={"decoding": decoding})
    same = Recursion(system, reference.agents, reference.links)
    options = {"rounds": 4, "decoding": {"thinkBeforeAnswer": think}, "trace": {"handoffs": True, "thoughts": True}}
    stops = []
    for question in asked(reference):
        came = engine.run(question, earlyStopping={"threshold": 0.99}, **options)
        expected = same.run([question], rounds=4, threshold=0.99)
        stop = expected.stops[0]
        stops.append(stop and stop.round)
        assert came.get("earlyStop", {}).get("round") == (stop and stop.round)
        if stop is not None:
            assert came["earlyStop"]["similarity"] == pytest.approx(stop.similarity, abs=1e-5)
        assert_same_turns(came, expected.turns, same)
        assert came["answerTokenIds"] == expected.token_ids[0]
        assert sum(turn["forwardPositions"] for turn in came["turns"]) == expected.forward_positions[0]
        assert sum(turn.get("keptPositions", 0) for turn in came["turns"]) == expected.kept_positions[0]
    assert stops == [1, 2, None]
    if think:
        fewer = engine.run(asked(reference)[0], **{**options, "rounds": 2})
        came = engine.run(asked(reference)[0], earlyStopping={"threshold": 0.99}, **options)
        assert [turn["thoughts"] for turn in came["turns"]] == [turn["thoughts"] for turn in fewer["turns"]]


def test_page_says_in_which_round_a_run_stopped_and_why(
    browser: Browser, built: Path, default_system: Path, tmp_path: Path
) -> None:
    with serving(built, default_system) as url, open_playground(browser, url) as page:
        page.open("?n=1&rounds=5")
        page.load()
        page.run()
        whole = page.figure("forward positions")
        expect(page.page.locator(".early-note")).to_have_count(0)
        page.page.get_by_label("Stop when rounds repeat").check()
        page.query("early=1")
        page.run()
        note = page.page.locator(".early-note")
        expect(note).to_contain_text("The run stopped in round 2 of 5: this round handed back the same as round 1")
        expect(note).to_contain_text("at least 0.999")
        assert page.answer == "g"
        assert int(re.sub(r"\D", "", page.figure("forward positions"))) < int(re.sub(r"\D", "", whole)) / 2
        assert page.page.locator(".score-answer").all_text_contents() == ["g"]
        page.shoot("early-stopping-watch", tmp_path)
        page.view("Look inside")
        chart = page.page.get_by_role("img", name=re.compile("Cosines to the round before"))
        expect(chart).to_have_attribute("aria-label", re.compile("solver->planner, round 2: .*may stop at 0.999"))
        expect(chart.locator("svg")).to_be_visible()
        chart.scroll_into_view_if_needed()
        page.settle()
        page.shoot("early-stopping-inside", tmp_path)
        page.page.set_viewport_size({"width": 390, "height": 800})
        assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 390
        page.shoot("early-stopping-narrow", tmp_path)
        assert page.complaints == []
