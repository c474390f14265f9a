"""Bringing one's own: folders, links and Hub repositories; what the browser keeps; searching."""

import json
import mimetypes
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from playwright.sync_api import Browser, Route, expect

from harness.engine_page import serving
from harness.playground import Playground, drop, open_playground
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import BuildSystem

pytestmark = pytest.mark.browser

FARE = "fare-deliberation"


@pytest.fixture(scope="module")
def questions(reference: Recursion) -> list[QuestionRecord]:
    assert reference.system.task is not None and reference.system.task.data is not None
    return list(load_questions(reference.system.task.data))


@pytest.fixture
def page(browser: Browser, built: Path, default_system: Path) -> Iterator[Playground]:
    with serving(built, default_system) as url, open_playground(browser, url) as playground:
        yield playground
        assert playground.complaints == []


def dialog(page: Playground) -> None:
    """Opens the dialog in which systems are chosen."""
    page.page.locator(".system-button").click()
    expect(page.page.get_by_role("heading", name="Choose a system")).to_be_visible()


def random_links(reference: Recursion) -> Links:
    """Links for the default system's agents that nobody trained."""
    torch.manual_seed(11)
    return Links.create(
        {key: agent.hidden_size for key, agent in reference.agents.items()},
        {edge.id: (edge.source, edge.target) for edge in reference.system.edges},
        "paper",
        24,
        20,
    )


def test_page_opens_a_folder_that_is_dropped_and_other_links_for_its_agents(
    page: Playground,
    default_system: Path,
    reference: Recursion,
    questions: list[QuestionRecord],
    tmp_path: Path,
) -> None:
    page.page.route("**/systems/**", lambda route: route.abort())
    page.open()
    drop(page.page, default_system)
    page.query("system=folder")
    expect(page.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
    page.load()
    page.ask(3)
    page.run()
    question = questions[2].question
    assert page.answer == reference.run([question], rounds=3).texts[0]

    links = random_links(reference)
    file = tmp_path / "untrained.recursivelink.json"
    links.to_file("hop-sequential", {}).save(file)
    drop(page.page, file)
    expect(page.page.locator(".system-facts")).to_contain_text("links from untrained.recursivelink.json")
    expect(page.button).to_contain_text("Run")
    page.run()
    other = Recursion(reference.system, reference.agents, links).run([question], rounds=3)
    assert page.answer == other.texts[0]

    data = json.loads(file.read_text(encoding="utf-8"))
    data["inner"]["planner"], data["inner"]["critic"] = data["inner"]["critic"], data["inner"]["planner"]
    file.write_text(json.dumps(data), encoding="utf-8")
    drop(page.page, file)
    expect(page.page.locator(".problem h2")).to_have_text("The links do not fit these agents")
    page.page.get_by_text("Technical details").click()
    assert "maps hidden size 128 to 128, but the agents need 96 to 96" in page.problem
    page.page.get_by_role("button", name="Use the system’s own links").click()
    expect(page.button).to_contain_text("Run")
    expect(page.page.locator(".problem")).to_have_count(0)
    expect(page.page.locator(".system-facts")).not_to_contain_text("links from")


def test_page_opens_a_folder_with_the_keyboard_alone(page: Playground, default_system: Path) -> None:
    # Listened for from the start: Chromium is told in the background, and a key may be faster than that.
    page.page.on("filechooser", lambda _: None)
    page.open()
    page.page.locator(".system-button").focus()
    page.page.keyboard.press("Enter")
    button = page.page.get_by_role("button", name="Open a system’s folder")
    expect(page.page.locator("dialog :focus")).to_have_count(1)
    for _ in range(20):
        page.page.keyboard.press("Tab")
        if button.evaluate("(each) => each === document.activeElement"):
            break
    expect(button).to_be_focused()
    with page.page.expect_file_chooser() as chooser:
        page.page.keyboard.press("Enter")
    chooser.value.set_files(default_system)
    page.query("system=folder")
    expect(page.page.locator(".problem")).to_have_count(0)
    expect(page.button).to_contain_text("Load the agents")


@pytest.mark.parametrize("name", ["a folder without a system", "system.json alone", "a file of another kind"])
def test_page_says_what_it_cannot_open_and_keeps_what_is_open(
    page: Playground, default_system: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "notes.txt").write_text("<b>hello</b>", encoding="utf-8")
    (folder / "more.txt").write_text("{}", encoding="utf-8")
    shutil.copy(default_system / "system.json", tmp_path)
    given = {
        "a folder without a system": folder,
        "system.json alone": tmp_path / "system.json",
        "a file of another kind": folder / "notes.txt",
    }[name]
    page.open()
    drop(page.page, given)
    expect(page.page.locator(".problem h2")).to_have_text("This cannot be opened")
    expect(page.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
    page.page.get_by_role("button", name="OK", exact=True).click()
    expect(page.button).to_contain_text("Load the agents")


def test_page_says_that_a_folder_is_gone_after_a_reload(page: Playground) -> None:
    page.open("?system=folder:hop-sequential")
    expect(page.page.locator(".problem h2")).to_have_text("This cannot be opened")
    assert "dropped again" in page.problem
    expect(page.page.get_by_role("heading", name="No system is open")).to_be_visible()


def test_page_opens_a_repository_on_the_hub_by_its_name(page: Playground, default_system: Path) -> None:
    asked: list[str] = []

    def hub(route: Route) -> None:
        path = urlsplit(route.request.url).path
        asked.append(path)
        file = default_system / path.removeprefix("/somebody/hop/resolve/main/")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": kind}
        route.fulfill(status=200, body=file.read_bytes(), headers=headers)

    page.page.route("https://huggingface.co/**", hub)
    page.open()
    dialog(page)
    page.page.get_by_label("Or the address of a system.json").fill("somebody/hop")
    with page.page.expect_response("https://huggingface.co/somebody/hop/resolve/main/system.json"):
        page.page.get_by_role("button", name="Open", exact=True).click()
    page.query("system=https%3A%2F%2Fhuggingface.co%2Fsomebody%2Fhop")
    expect(page.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
    expect(page.button).to_contain_text("Load the agents")
    assert asked == ["/somebody/hop/resolve/main/system.json"]
    page.load()
    assert {path.split("/")[1] for path in asked} == {"somebody"} and len(asked) > 10


def test_page_shows_what_is_kept_and_deletes_it(page: Playground, default_system: Path) -> None:
    page.open()
    page.load()
    dialog(page)
    kept = page.page.get_by_label("Kept in this browser")
    expect(kept.locator("summary")).to_contain_text(re.compile(r"hop-sequential.*MB in \d+ files", re.DOTALL))
    kept.locator("summary").click()
    expect(kept.locator("code", has_text="params_shard_0.bin").first).to_be_visible()
    stored = page.page.evaluate("async () => (await (await caches.open('recursivemas-files')).keys()).length")
    assert stored > 10
    kept.get_by_role("button", name="Delete the files of hop-sequential").click()
    expect(kept).to_contain_text("Nothing.")
    assert page.page.evaluate("async () => (await (await caches.open('recursivemas-files')).keys()).length") == 0
    page.page.reload()
    expect(page.button).to_contain_text("Load the agents")


@pytest.fixture(scope="module")
def fare(build_for_software: BuildSystem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deliberation system, built."""
    return build_for_software(FARE, tmp_path_factory.mktemp("fare"))


def test_page_searches_only_with_consent(browser: Browser, built: Path, fare: Path, tmp_path: Path) -> None:
    # The trained agent calls a calculator; under this tokenizer the very same tokens are a search.
    system = Path(shutil.copytree(fare, tmp_path / FARE))
    for tokenizer in system.rglob("tokenizer.json"):
        text = tokenizer.read_text(encoding="utf-8").replace("calculator>", "search>")
        tokenizer.write_text(text, encoding="utf-8")
    from tests.browser.test_engine_failures import sign

    for tokenizer in system.rglob("tokenizer.json"):
        sign(system, tokenizer.relative_to(system).as_posix())
    searches: list[str] = []

    def wikipedia(route: Route) -> None:
        searches.append(parse_qs(urlsplit(route.request.url).query)["gsrsearch"][0])
        found = {"query": {"pages": [{"title": "Fares", "extract": "57 <u>and</u> 74"}]}}
        route.fulfill(json=found, headers={"Access-Control-Allow-Origin": "*"})

    with serving(built, system) as url, open_playground(browser, url) as page:
        page.page.route("https://en.wikipedia.org/**", wikipedia)
        page.open("?n=3")
        page.load()
        page.run()
        assert searches == []
        assert [each for each in page.requests if "wikipedia" in each] == []
        expect(page.page.locator(".answer .tool-call small")).to_have_text("search")
        page.view("Change")
        page.page.get_by_role("checkbox", name=re.compile("Let it search en.wikipedia.org")).check()
        assert "wikipedia" not in page.page.url, "consent is not part of a link"
        page.run()
        assert len(searches) == 1 and re.fullmatch(r"\d+ \* \d+", searches[0])
        expect(page.page.locator(".answer .tool-call b")).to_have_text("57 74")
        page.page.reload()
        page.view("Change")
        expect(page.page.get_by_role("checkbox", name=re.compile("Let it search"))).not_to_be_checked()
        assert page.complaints == []
