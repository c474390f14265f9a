"""The playground as a visitor uses it: the real page, engine and default system, below a sub-path."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.engine_page import WEB, serving
from harness.playground import (
    GALLERY,
    VIEWS,
    Playground,
    open_playground,
    script_bytes,
)
from recursivemas.system.questions import QuestionRecord, load_questions
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

BELOW = "/some/where"
AXE = WEB / "node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def loaded(
    browser: Browser, built: Path, default_system: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Playground]:
    folder = tmp_path_factory.mktemp("pictures")
    with serving(built, default_system, BELOW) as url, open_playground(browser, url) as playground:
        playground.open()
        playground.before = playground.page.locator("main").inner_text()  # type: ignore[attr-defined]
        playground.first_requests = list(playground.requests)  # type: ignore[attr-defined]
        playground.shoot("unloaded", folder)
        playground.load()
        yield playground
        assert playground.complaints == []


@pytest.fixture
def page(loaded: Playground) -> Playground:
    loaded.page.set_viewport_size({"width": 1280, "height": 800})
    loaded.reset()
    return loaded


@pytest.fixture(scope="module")
def questions(reference: Recursion) -> list[QuestionRecord]:
    assert reference.system.task is not None and reference.system.task.data is not None
    return list(load_questions(reference.system.task.data))


def test_page_says_how_big_a_system_is_before_it_loads_anything(loaded: Playground, default_system: Path) -> None:
    before, requests = loaded.before, loaded.first_requests  # type: ignore[attr-defined]
    size = sum(file.stat().st_size for file in default_system.rglob("*") if file.name != "system.json") / 1e6
    assert f"{size:.1f}\u202fMB" in before
    assert "of graphics memory" in before
    # The service worker asks for the index again, to see whether it is newer; nothing else is asked for twice.
    asked = dict.fromkeys(url.removeprefix(loaded.url) for url in requests if "systems/" in url)
    assert list(asked) == ["systems/index.json", "systems/hop-sequential/system.json"]


LONG_PROMPT = "Read the question and write a plan for your colleagues, in numbered steps.\n\n{question}\n\n\nPlan:"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_has_room_for_prompts_and_long_times(page: Playground, width: int) -> None:
    page.page.set_viewport_size({"width": width, "height": 800})
    page.view("Change")
    boxes = page.page.locator(".prompts textarea")
    boxes.first.fill(LONG_PROMPT)
    for box in boxes.all():
        assert box.evaluate("(each) => each.scrollHeight <= each.clientHeight"), box.input_value()
        assert box.evaluate("(each) => each.clientHeight >= 2 * parseFloat(getComputedStyle(each).lineHeight)")
    for view, selector in (("Watch", ".figure:last-child dd"), ("Compare", ".lane-bars > div:last-child b")):
        page.view(view)
        time = page.page.locator(selector).first
        # The longest text that a duration can have.
        time.evaluate("(each) => { each.textContent = '59\\u202fmin 59\\u202fs'; }")
        assert time.evaluate("(each) => each.scrollWidth <= each.clientWidth || each.scrollWidth <= each.offsetWidth")
        right = time.evaluate("(each) => each.getBoundingClientRect().right")
        assert right <= width, view


def test_page_shows_what_was_measured_before_the_build(page: Playground) -> None:
    report = (WEB.parent / "docs/evidence/bench-accuracy-hop-sequential.json").read_text(encoding="utf-8")
    cells = json.loads(report)["cells"]
    page.view("How it works")
    table = page.page.get_by_role("table", name=re.compile("Measured in PyTorch on hop-test.jsonl, seed 0"))
    expect(table.locator("tbody tr")).to_have_count(len(cells))
    shown = table.locator("tbody tr td:nth-of-type(3)").all_inner_texts()
    assert [re.sub(r"\s", "", each) for each in shown] == [f"{cell['accuracy']:.1%}" for cell in cells]


def test_page_asks_nobody_else_for_anything(loaded: Playground) -> None:
    assert {url for url in loaded.requests if not url.startswith((loaded.url, "blob:"))} == set()


def test_page_starts_with_little_javascript(loaded: Playground, built: Path) -> None:
    size = script_bytes(loaded.first_requests, loaded.url, built)  # type: ignore[attr-defined]
    assert 0 < size < 120_000


def test_page_ships_without_the_stand_in_engine(built: Path) -> None:
    texts = [file.read_text(encoding="utf-8") for file in built.rglob("*.js")]
    assert texts
    assert not [text for text in texts if "stand-in" in text or "made up" in text]


def test_page_answers_as_pytorch_does(page: Playground, reference: Recursion, questions: list[QuestionRecord]) -> None:
    for number in (3, 15):
        page.ask(number)
        page.run()
        expected = reference.run([questions[number - 1].question], rounds=3)
        assert page.answer == expected.texts[0]
        assert page.figure("decoded tokens") == str(expected.decoded_tokens[0])
        assert page.figure("latent steps") == "18"
        right = expected.texts[0] == questions[number - 1].answer
        expect(page.page.locator(".answer .verdict")).to_have_text("right" if right else re.compile("^wrong"))


def test_page_answers_a_question_of_ones_own(page: Playground, reference: Recursion) -> None:
    page.ask(1)
    page.page.get_by_role("spinbutton", name="Hops").fill("8")
    page.page.get_by_role("spinbutton", name="Hops").press("Enter")
    page.page.get_by_text("The task and what the agents read").click()
    question = page.page.get_by_label("The question as the agents read it").input_value()
    assert question.endswith("@8")
    page.run()
    assert page.answer == reference.run([question], rounds=3).texts[0]
    page.page.get_by_role("button", name="Back to the system’s questions").click()


def test_page_run_can_be_cancelled_at_any_moment(page: Playground) -> None:
    page.ask(15)
    page.page.get_by_label("Rounds", exact=True).fill("40")
    page.page.get_by_label("Rounds", exact=True).press("Enter")
    page.button.click()
    page.page.wait_for_selector(".note.full")
    expect(page.button).to_have_text("Cancel")
    page.button.click()
    page.wait()
    expect(page.page.locator(".answer .verdict")).to_have_text("stopped before the answer")
    assert page.problem == ""
    page.reset()
    page.run()
    assert page.answer != "–"


def test_page_tells_that_the_tab_was_asleep_and_goes_on(page: Playground) -> None:
    page.ask(15)
    page.asked = 0
    # Headless Chromium freezes no page; these are the events with which a browser tells that it did, and they come
    # while the run goes on, however fast it is.
    page.page.evaluate(
        """() => {
          document.querySelector(".primary").click();
          for (const name of ["freeze", "resume"]) document.dispatchEvent(new Event(name));
        }"""
    )
    page.wait()
    expect(page.page.locator(".verdict.slept")).to_have_text("the tab was asleep, so the time means nothing")
    assert page.answer not in ("", "–")


def test_page_runs_the_agents_in_another_order(
    page: Playground, reference: Recursion, questions: list[QuestionRecord]
) -> None:
    page.ask(15)
    page.view("Change")
    page.page.get_by_role("button", name="Run the critic earlier").click()
    page.page.get_by_label("Role of the critic").fill("map maker")
    page.page.get_by_label("Role of the critic").press("Enter")
    expect(page.page.locator(".graph .node-name").first).to_have_text("critic · map maker")
    page.query("order=critic&order=planner&order=solver")
    page.run()
    agents = tuple(reference.system.agent(each) for each in ("critic", "planner", "solver"))
    place = {agent.id: index for index, agent in enumerate(agents)}
    edges = tuple(
        edge.model_copy(update={"feedback": place[edge.target] <= place[edge.source]})
        for edge in reference.system.edges
    )
    turned = reference.system.model_copy(update={"agents": agents, "edges": edges})
    expected = Recursion(turned, reference.agents, reference.links).run([questions[14].question], rounds=3)
    assert page.answer == expected.texts[0]
    assert page.figure("decoded tokens") == str(expected.decoded_tokens[0])
    page.view("Change")
    page.page.get_by_text("sequential, as trained").click()
    page.page.wait_for_function("() => !location.search.includes('order=')")
    page.page.get_by_text("without feedback").click()
    page.query("off=solver")
    expect(page.page.get_by_role("checkbox", name=re.compile("solver → planner"))).not_to_be_checked()


def test_page_shows_every_thought_and_replays_the_run(page: Playground, questions: list[QuestionRecord]) -> None:
    page.answered(15)
    expect(page.page.locator(".score .note-button")).to_have_count(18)
    hops = int(questions[14].question.rpartition("@")[2])
    expect(page.page.locator(".walk-leg")).to_have_count(hops)
    moment = page.page.get_by_label("Moment of the run")
    moment.focus()
    moment.press("Home")
    expect(page.page.locator(".answer-body")).to_have_text("–")
    expect(page.page.locator(".score .note.full")).to_have_count(0)
    moment.press("ArrowRight")
    moment.press("ArrowRight")
    expect(page.page.locator(".score .note.full")).to_have_count(1)
    moment.press("End")
    expect(page.page.locator(".score .note.full")).to_have_count(18)


def test_page_thoughts_are_read_with_the_keyboard(page: Playground) -> None:
    page.answered(15)
    notes = page.page.locator(".score .note-button")
    notes.nth(0).focus()
    page.page.keyboard.press("ArrowRight")
    expect(page.page.locator(".reading-of")).to_contain_text("planner, round 1, thought 2")
    expect(page.page.locator(".likely li")).to_have_count(5)
    assert notes.nth(1).get_attribute("aria-label")
    # In lower case, or the Tab key passes it by.
    expect(notes.nth(1)).to_have_attribute("tabindex", "0")
    places = page.page.locator(".ring-symbol")
    places.nth(0).focus()
    page.page.keyboard.press("ArrowRight")
    expect(places.nth(1)).to_be_focused()


def test_page_text_mode_shows_what_the_agents_write(
    page: Playground, reference: Recursion, questions: list[QuestionRecord]
) -> None:
    page.ask(9)
    page.page.get_by_role("radio", name="Text").check(force=True)
    page.run()
    expected = reference.run([questions[8].question], rounds=3, mode="text")
    assert (page.answer, page.figure("decoded tokens")) == (expected.texts[0], str(expected.decoded_tokens[0]))
    assert page.page.locator(".note-word.said").count() >= 10


def test_page_compares_four_ways(page: Playground) -> None:
    page.ask(15)
    page.view("Compare")
    page.page.get_by_role("button", name="Compare on this question").click()
    expect(page.page.locator(".lane.done")).to_have_count(4)
    tokens = [int(each.inner_text()) for each in page.page.locator(".lane-bars > div:first-child b").all()]
    latent, text, _loop, single = tokens
    assert latent == single == 1
    assert text > latent
    expect(page.page.locator(".lane .verdict")).to_have_count(4)


def test_page_measures_and_can_be_stopped(page: Playground) -> None:
    page.view("Measure")
    for rounds in ("2", "3"):
        page.page.get_by_role("checkbox", name=rounds, exact=True).uncheck()
    page.page.get_by_label("Questions").select_option("18")
    page.page.get_by_role("button", name="Measure", exact=True).click()
    page.page.wait_for_function(
        "() => /^[3-9] of 18/.test(document.querySelector('.survey-progress .fine')?.textContent ?? '')",
    )
    page.page.locator(".survey").get_by_role("button", name="Cancel").click()
    expect(page.page.get_by_role("button", name="Measure", exact=True)).to_be_enabled()
    expect(page.page.locator(".chart svg")).to_be_visible()
    row = page.page.locator(".facts tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(re.compile(r"\d of [3-9]"))


def test_page_saves_a_run_and_opens_it_again(page: Playground, tmp_path: Path) -> None:
    page.answered(15)
    answer = page.answer
    page.view("Look inside")
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Save this run").click()
    file = tmp_path / "run.json"
    download.value.save_as(file)
    page.view("Watch")
    page.ask(2)
    page.run()
    page.view("Look inside")
    page.page.get_by_label("Saved run").set_input_files(file)
    page.view("Watch")
    assert page.answer == answer
    expect(page.page.locator(".score .note-button")).to_have_count(18)
    page.view("Look inside")
    expect(page.page.get_by_role("button", name="Cut each edge in turn")).to_be_enabled()
    run = json.loads(file.read_text(encoding="utf-8"))
    run["origin"]["manifest_sha256"] = "0" * 64
    file.write_text(json.dumps(run), encoding="utf-8")
    page.page.get_by_label("Saved run").set_input_files(file)
    expect(page.page.get_by_role("button", name="Cut each edge in turn")).to_be_disabled()
    expect(page.page.locator(".inside")).to_contain_text("Another build of hop-sequential made this run")
    page.asked = 0


def test_page_refuses_a_file_that_is_no_run(page: Playground, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"format": "something else"}', encoding="utf-8")
    page.view("Look inside")
    page.page.get_by_label("Saved run").set_input_files(file)
    expect(page.page.locator(".problem")).to_contain_text("This run cannot be opened")
    page.page.get_by_role("button", name="OK", exact=True).click()
    expect(page.page.locator(".problem")).to_have_count(0)


def test_page_looks_inside_and_cuts_edges(page: Playground) -> None:
    page.answered(15)
    page.view("Look inside")
    expect(page.page.locator(".lens tbody tr")).to_have_count(5)
    expect(page.page.locator(".heat")).to_have_count(18 * 18)
    page.page.locator(".heatmap svg").focus()
    page.page.keyboard.press("ArrowRight")
    expect(page.page.locator(".heat-reading")).to_contain_text("1.00")
    page.page.keyboard.press("ArrowDown")
    expect(page.page.locator(".heat-reading")).to_contain_text("round 1, thought 2")
    page.page.get_by_label("Compare").select_option(label="thoughts of the critic, by angle")
    expect(page.page.locator(".heat")).to_have_count(36)
    charts = page.page.locator(".inside .chart svg")  # lengths of thoughts, and what early stopping compares
    expect(charts).to_have_count(2)
    expect(charts.first).to_be_visible()
    for instead in ("nothing", "other"):
        page.page.get_by_label("Replace the thoughts with").select_option(instead)
        page.page.get_by_role("button", name="Cut each edge in turn").click()
        expect(page.page.get_by_role("button", name="Cut each edge in turn")).to_be_visible()
        expect(page.page.locator(".facts td .verdict")).to_have_count(4)
        assert page.problem == ""


def test_page_keeps_changes_in_its_address(page: Playground, browser: Browser) -> None:
    page.view("Change")
    page.page.get_by_role("checkbox", name=re.compile("critic → solver")).uncheck()
    page.page.get_by_label("Temperature").fill("0.5")
    page.page.get_by_label("Temperature").press("Enter")
    page.query(r"t=0\.5")
    with open_playground(browser, page.url) as other:
        other.open("?" + page.page.url.split("?")[1])
        expect(other.page.get_by_role("checkbox", name=re.compile("critic → solver"))).not_to_be_checked()
        expect(other.page.get_by_label("Temperature")).to_have_value("0.5")
    page.page.get_by_role("button", name="Back to the system’s own").click()
    expect(page.page.get_by_label("Temperature")).to_have_value("0")
    page.page.wait_for_function("() => !location.search.includes('t=0.5')")


def test_page_explains_a_prompt_that_cannot_be_used_and_keeps_it(page: Playground) -> None:
    page.view("Change")
    prompt = page.page.get_by_label("critic, in every round")
    prompt.fill("<bos> critic {question} {latent:nobody} go")
    expect(page.page.locator(".field-problem")).to_have_text(
        "prompt has a slot {latent:nobody} without an edge; edges that arrive here: planner->critic"
    )
    page.button.click()
    expect(page.page.locator(".problem")).to_contain_text("A prompt is not valid")
    page.view("Change")
    expect(page.page.get_by_label("critic, in every round")).to_have_value("<bos> critic {question} {latent:nobody} go")
    page.page.get_by_role("button", name="Use the system’s own settings").click()
    expect(page.page.locator(".problem")).to_have_count(0)


def test_page_guides_through_a_run(page: Playground) -> None:
    page.answered(15)
    page.view("How it works")
    expect(page.page.locator(".chapter-count")).to_have_text("1 of 6")
    page.page.get_by_role("button", name="Next", exact=True).click()
    expect(page.page.locator(".chapter h3")).to_have_text("A latent thought")
    expect(page.page.locator(".explain .bead.full")).to_have_count(1)
    for _ in range(4):
        page.page.get_by_role("button", name="Next", exact=True).click()
    expect(page.page.get_by_role("button", name="Next", exact=True)).to_be_disabled()
    expect(page.page.locator(".explain .answer-text")).to_be_visible()


def test_page_guide_leaves_the_run_as_it_was(page: Playground) -> None:
    page.answered(15)
    answer = page.answer
    page.view("How it works")
    expect(page.page.locator(".chapter-count")).to_have_text("1 of 6")
    expect(page.page.locator(".explain .note.full")).to_have_count(0)
    page.view("Watch")
    expect(page.page.locator(".answer-body")).to_have_text(answer)
    expect(page.page.locator(".score .note.full")).to_have_count(18)
    moment = page.page.get_by_label("Moment of the run")
    moment.press("Home")
    page.view("How it works")
    page.page.get_by_role("button", name="Next", exact=True).click()
    page.view("Watch")
    expect(page.page.locator(".score .note.full")).to_have_count(0)
    moment.press("End")


def test_page_goes_back_and_forth_between_views(page: Playground) -> None:
    page.view("Measure")
    page.view("Compare")
    page.page.go_back()
    expect(page.page.get_by_role("heading", name="Does another round help?")).to_be_visible()
    page.page.go_forward()
    expect(page.page.get_by_role("heading", name="One question in every mode")).to_be_visible()


def test_page_does_not_move_while_it_runs(page: Playground) -> None:
    page.ask(15)
    page.run()
    page.ask(14)
    page.settle()
    page.page.evaluate(
        """() => {
          window.shifts = [];
          new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((each) => each.value)))
            .observe({ type: "layout-shift", buffered: false });
        }"""
    )
    page.run()
    assert sum(page.page.evaluate("() => window.shifts")) == 0


def violations(page: Playground) -> list[str]:
    """What axe finds wrong with the page as it stands."""
    page.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']][:4]} {each['nodes'][0].get('failureSummary', '')}"
        for each in found["violations"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_page_is_accessible(page: Playground, view: str, theme: str) -> None:
    page.answered(15)
    page.page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.view(view)
    problems = violations(page)
    page.page.emulate_media(color_scheme=None, reduced_motion=None)
    assert problems == []


def test_page_dialog_and_problem_are_accessible(page: Playground, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("{}", encoding="utf-8")
    page.view("Look inside")
    page.page.get_by_label("Saved run").set_input_files(file)
    expect(page.page.locator(".problem")).to_be_visible()
    page.page.emulate_media(reduced_motion="reduce")
    problems = violations(page)
    page.page.get_by_role("button", name="OK", exact=True).click()
    page.page.evaluate("() => document.querySelector('.system-dialog').showModal()")
    problems += violations(page)
    page.page.get_by_role("button", name="Close", exact=True).click()
    page.page.emulate_media(reduced_motion=None)
    assert problems == []


@pytest.mark.parametrize("width", [390, 340])
def test_page_fits_a_phone(page: Playground, width: int) -> None:
    page.answered(15)
    page.page.set_viewport_size({"width": width, "height": 844})
    for view in VIEWS:
        page.view(view)
        page.settle()
        sizes = page.page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert sizes[0] <= sizes[1], view
        small = page.page.evaluate(
            """() => [...document.querySelectorAll("main button, main select")]
              .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 20 && !each.matches(".link"))
              .map((each) => each.outerHTML.slice(0, 80))"""
        )
        assert small == [], view


def test_page_gallery(page: Playground, tmp_path: Path) -> None:
    """Writes the pictures for review into the folder that RMAS_GALLERY names."""
    page.view("Chat")
    page.page.get_by_label("Your question", exact=True).fill(page.page.locator("h1").inner_text())
    page.button.click()
    expect(page.page.locator(".voice.done")).to_have_count(2)
    page.view("Watch")
    page.answered(15)
    pictures: list[Path] = []
    for theme in ("light", "dark"):
        page.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for width in (1280, 390):
            page.page.set_viewport_size({"width": width, "height": 844})
            for view in VIEWS:
                page.view(view)
                page.settle()
                name = f"{view.lower().replace(' ', '-')}-{width}-{theme}"
                pictures.append(page.shoot(name, tmp_path))
    page.page.emulate_media(color_scheme=None)
    assert len(pictures) == 4 * len(VIEWS)
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
    if GALLERY:
        assert all(picture.parent == Path(GALLERY) for picture in pictures)
