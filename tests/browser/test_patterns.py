"""The shipped tiny systems of all four patterns: the engine against PyTorch, and the page as a visitor sees them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.engine_page import assert_same_turns, open_page, serving
from harness.playground import Playground, open_playground
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.system.system import load_system
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import REPOSITORY, BuildSystem, build_as_shipped, compiled_with, links_of, load_reference

pytestmark = pytest.mark.browser

# What links are shipped for; the default system and the one of language models have tests of their own.
SHIPPED = sorted(
    name
    for path in (REPOSITORY / "systems/links").glob("*.recursivelink.json")
    if (name := path.name.removesuffix(".recursivelink.json")) not in ("hop-sequential", "townsfolk")
)
PATTERNS = {name: load_system(REPOSITORY / f"systems/{name}.yaml").pattern for name in SHIPPED}
QUESTIONS = (4, 31, 77)


@pytest.fixture(scope="module")
def for_software(
    default_system: Path, build_for_software: BuildSystem, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with every shipped system, built for the test browser; agents that systems share are compiled once."""
    folder = tmp_path_factory.mktemp("for-software")
    (folder / default_system.name).symlink_to(default_system)
    for name in SHIPPED:
        build_for_software(name, folder)
    return folder


# All agents here are small, so both kinds have the schedule `software`; as shipped, the kernels that TVM schedules have
# larger workgroups.
@pytest.fixture(scope="module", params=["for software", pytest.param("as shipped", marks=pytest.mark.slow)])
def systems(request: pytest.FixtureRequest, for_software: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of systems that the engine is compared on."""
    if request.param == "for software":
        return for_software
    folder = tmp_path_factory.mktemp("as-shipped")
    for name in SHIPPED:
        build_as_shipped(name, folder)
    return folder


def reference_of(name: str) -> tuple[Recursion, list[QuestionRecord]]:
    recursion = load_reference(REPOSITORY / f"systems/{name}.yaml", links_of(name))
    assert recursion.system.task is not None and recursion.system.task.data is not None
    return recursion, list(load_questions(recursion.system.task.data))


def test_every_pattern_is_shipped() -> None:
    assert {*PATTERNS.values(), "sequential"} == {"sequential", "mixture", "distillation", "deliberation"}


@pytest.mark.parametrize("name", SHIPPED)
def test_engine_agrees_with_pytorch_on(browser: Browser, harness: Path, systems: Path, name: str) -> None:
    reference, questions = reference_of(name)
    with serving(harness, systems) as url, open_page(browser, url) as engine:
        engine.load(f"systems/{name}/system.json")
        for number in QUESTIONS:
            question = questions[number].question
            came = engine.run(question, rounds=3, trace={"handoffs": True, "thoughts": True})
            expected = reference.run([question], rounds=3)
            assert_same_turns(came, expected.turns, reference)
            assert (came["answerTokenIds"], came["answer"]) == (expected.token_ids[0], expected.texts[0])
            assert came["decodedTokens"] == expected.decoded_tokens[0]
        assert engine.complaints == []


@pytest.mark.slow
def test_engine_agrees_with_pytorch_on_a_system_that_is_compiled_as_large_agents_are(
    browser: Browser, harness: Path, tmp_path: Path
) -> None:
    """tests/parity compares the schedule `gpu` by function; this is a whole run with it, hand-offs included."""
    name = "hop-sequential"
    with compiled_with("gpu", tmp_path / "cache"):
        build_as_shipped(name, tmp_path / "systems")
    reference, questions = reference_of(name)
    with serving(harness, tmp_path / "systems") as url, open_page(browser, url) as engine:
        engine.load(f"systems/{name}/system.json")
        question = questions[QUESTIONS[0]].question
        came = engine.run(question, rounds=3, trace={"handoffs": True, "thoughts": True})
        expected = reference.run([question], rounds=3)
        assert_same_turns(came, expected.turns, reference)
        assert came["answerTokenIds"] == expected.token_ids[0]
        assert engine.complaints == []


@pytest.fixture(scope="module")
def visited(browser: Browser, built: Path, for_software: Path) -> Iterator[Playground]:
    with serving(built, for_software) as url, open_playground(browser, url) as page:
        page.open()
        yield page
        assert page.complaints == []


@pytest.mark.parametrize("name", SHIPPED)
def test_page_runs(visited: Playground, name: str, tmp_path: Path) -> None:
    reference, questions = reference_of(name)
    page = visited.page
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator(".system-button").click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile(f"^{name}\\b")).click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    visited.load()
    assert page.locator(".graph .node").count() == len(reference.system.agents)
    assert page.locator(".graph .edge").count() == len(reference.system.edges)
    number = QUESTIONS[0]
    visited.ask(number + 1)
    visited.run()
    expected = reference.run([questions[number].question], rounds=reference.system.rounds)
    assert visited.figure("decoded tokens") == str(expected.decoded_tokens[0])
    if PATTERNS[name] == "deliberation":
        call = re.search(r"<calculator>\s*(.*?)\s*</calculator>\s*<result>\s*(.*?)\s*</result>", expected.texts[0])
        assert call is not None, expected.texts[0]
        shown = page.locator(".answer .tool-call")
        expect(shown.locator("small")).to_have_text("calculator")
        expect(shown).to_contain_text(f"{call[1]} = {call[2]}")
    else:
        assert visited.answer == expected.texts[0]
    assert page.locator(".answer .verdict.right, .answer .verdict.wrong").count() == 1
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        visited.settle()
        sizes = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert sizes[0] <= sizes[1]
        visited.shoot(f"{name}-{width}", tmp_path)


def test_page_changes_to_another_pattern_from_change(visited: Playground) -> None:
    page = visited.page
    page.set_viewport_size({"width": 1280, "height": 800})
    visited.view("Change")
    page.get_by_role("button", name="sequential (hop-sequential)").click()
    expect(page.get_by_role("heading", name="hop-sequential", level=1)).to_be_visible()
