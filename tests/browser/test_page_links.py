"""The Links view: links that were published on the Hub's stand-in are found, judged, verified and used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from harness.engine_page import serving
from harness.playground import Playground, open_playground
from recursivemas.release.links_publish import publish_links
from recursivemas.release.shared_links import Share, share_links
from recursivemas.training.agents import checksums
from recursivemas.training.recursion import Recursion
from tests.browser.conftest import DEFAULT_SYSTEM, REPOSITORY
from tests.browser.test_page import violations
from tests.browser.test_page_bring import random_links
from tests.release.hub_stand_in import Hub
from tests.release.test_hub_upload import hub as hub  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]

HUB = "https://huggingface.co"


@pytest.fixture
def page(browser: Browser, built: Path, default_system: Path, hub: Hub) -> Iterator[Playground]:
    """The page, whose requests to the Hub reach the stand-in."""
    with serving(built, default_system) as url, open_playground(browser, url) as playground:

        def ask(route: Route) -> None:
            route.fulfill(response=route.fetch(url=route.request.url.replace(HUB, hub.endpoint)))

        playground.page.route(f"{HUB}/**", ask)
        yield playground
        assert playground.complaints == []


def publish(share: Share, repo_id: str) -> None:
    list(publish_links(share, repo_id, private=False, dry_run=False, say=lambda _: None))


def shipped(name: str) -> Share:
    """A shipped system's links."""
    links = REPOSITORY / f"systems/links/{name}.recursivelink.json"
    return share_links(links, REPOSITORY / f"systems/{name}.yaml", "apache-2.0", [REPOSITORY / "docs/evidence"])


def test_page_finds_shared_links_and_uses_those_that_fit(
    page: Playground, hub: Hub, reference: Recursion, tmp_path: Path
) -> None:
    links = random_links(reference)
    provenance: dict[str, Any] = json.loads(
        (REPOSITORY / "systems/links/hop-sequential.recursivelink.json").read_text(encoding="utf-8")
    )["provenance"] | {"agents_sha256": checksums(reference.agents)}
    file = tmp_path / "untrained.recursivelink.json"
    links.to_file("hop-sequential", provenance).save(file)
    publish(share_links(file, DEFAULT_SYSTEM, "mit"), "somebody/untrained")
    publish(shipped("drift-sequential"), "somebody/drift")

    page.open("?view=links")
    expect(page.page.get_by_role("heading", name="On the Hugging Face Hub")).to_be_visible()
    assert [url for url in page.requests if url.startswith(HUB)] == [], "the page asked the Hub before the visitor did"
    page.page.get_by_role("button", name="Look for shared links").click()
    expect(page.page.get_by_role("heading", name="1 fits these agents")).to_be_visible()
    card = page.page.locator(".shared-card", has_text="somebody/untrained")
    expect(card).to_contain_text("Nothing was measured with these links")
    page.page.get_by_text("1 does not fit, and why").click()
    other = page.page.locator(".shared-card", has_text="somebody/drift")
    expect(other).to_contain_text(
        "They connect the agents scout and judge. This system has planner, critic, and solver."
    )
    expect(other.get_by_role("button")).to_have_count(0)
    assert not any("recursivelink" in url for url in page.requests if url.startswith(HUB)), "links came unasked"
    page.page.emulate_media(reduced_motion="reduce")
    assert violations(page) == []
    for width in (1280, 390):
        page.page.set_viewport_size({"width": width, "height": 844})
        page.shoot(f"shared-links-{width}", tmp_path)
        assert page.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.page.set_viewport_size({"width": 1280, "height": 844})

    card.get_by_role("button", name="Use these links").click()
    expect(page.page.locator(".system-facts")).to_contain_text("links from somebody/untrained at")
    page.load()
    page.ask(3)
    page.run()
    question = page.page.get_by_label("Choose a question").evaluate("(each) => each.value")
    assert question == "3"
    data = (REPOSITORY / "systems/data/hop-test.jsonl").read_text(encoding="utf-8").splitlines()
    expected = Recursion(reference.system, reference.agents, links).run([json.loads(data[2])["question"]], rounds=3)
    assert page.answer == expected.texts[0]


def test_page_refuses_links_that_are_not_those_of_their_record(page: Playground, hub: Hub) -> None:
    share = share_links(
        REPOSITORY / "systems/links/hop-sequential.recursivelink.json",
        DEFAULT_SYSTEM,
        "mit",
        agents_changed="The solver was converted.",
    )
    publish(share, "somebody/hop")
    is_large, oid, _ = hub.repositories["somebody/hop"].head.tree["recursivelink.json"]
    stored = hub.large if is_large else hub.small
    stored[oid] = stored[oid].replace(b'"seed": 0', b'"seed": 1', 1)
    page.open("?view=links")
    page.page.get_by_role("button", name="Look for shared links").click()
    page.page.get_by_role("button", name="Use these links").click()
    expect(page.page.locator(".shared-problem")).to_contain_text("its sha256 is")
    expect(page.page.locator(".system-facts")).not_to_contain_text("links from")
    expect(page.page.locator(".problem")).to_have_count(0)


def test_gallery_shows_every_entry_and_leads_to_the_playground(page: Playground, tmp_path: Path) -> None:
    page.open("?view=links")
    page.page.get_by_role("link", name="The gallery").click()
    page.page.wait_for_url("**/gallery.html")
    entries = json.loads((REPOSITORY / "systems/gallery.json").read_text(encoding="utf-8"))["entries"]
    names = [entry["record"]["system"] for entry in entries]
    assert page.page.locator(".shared-card h2").all_inner_texts() == names
    for summary in page.page.locator("summary").all():
        summary.click()
    tables = sum(1 + bool(entry["record"].get("measured")) for entry in entries)
    expect(page.page.get_by_role("table")).to_have_count(tables)
    for theme, width in (("light", 1280), ("dark", 390)):
        page.page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.page.set_viewport_size({"width": width, "height": 844})
        assert violations(page) == []
        assert page.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
        card, main = (page.page.locator(each).first.bounding_box() for each in (".shared-card", "main"))
        assert card is not None and main is not None and card["width"] > 0.8 * main["width"]
        page.shoot(f"gallery-of-links-{width}", tmp_path)
    expect(page.page.get_by_role("link", name="Open in the playground")).to_have_count(1)
    assert "make playground SYSTEMS=drift-sequential" in page.page.inner_text("main")
    page.page.get_by_role("link", name="Open in the playground").click()
    expect(page.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
