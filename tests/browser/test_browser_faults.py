"""Browser faults: whatever breaks, the visitor reads why in one line, or sees no problem at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.engine_page import serving
from tests.browser.browser_faults import DOCUMENT, NO_HEADING, Fault, document, faults
from tests.browser.fault_visit import Visit

KINDS = [pytest.param(each, id=each.name, marks=[] if each.quick else [pytest.mark.slow]) for each in faults()]


@pytest.fixture(scope="module")
def site(built: Path, default_system: Path) -> Iterator[str]:
    """The page and the default system."""
    with serving(built, default_system) as url:
        yield url


@pytest.mark.browser
@pytest.mark.parametrize("fault", KINDS)
def test_visitor_reads_what_is_wrong(
    browser: Browser, site: str, default_system: Path, tmp_path: Path, fault: Fault
) -> None:
    visit = Visit(browser, site, default_system, tmp_path)
    fault.act(visit)
    if fault.says in NO_HEADING:
        shown = "\n".join([visit.page.locator("body").inner_text(), *visit.asked])
        assert visit.heading == ""
    else:
        expect(visit.page.locator(".problem h2")).to_have_text(fault.says)
        shown = visit.details
        assert not [each for each in ("undefined", "[object", "\n") if each in shown], shown
    place = 0
    for words in fault.words:
        assert words in shown[place:], shown
        place = shown.index(words, place) + len(words)
    assert visit.playground.complaints == []
    visit.close()


def test_table_in_the_documents_is_this_one() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == document(text), "run `python -m tests.browser.browser_faults`"
    assert len(faults()) >= 60
