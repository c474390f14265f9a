"""200 runs in the page: what memory they leave behind."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from harness.engine_page import launch, serving
from harness.memory import WATCH_WASM, MemoryWatch
from harness.playground import open_playground

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUNS = 200
# Shaders are compiled and code is optimised in the first runs.
WARM_UP = 40


def test_page_keeps_no_memory_of_200_runs(built: Path, default_system: Path) -> None:
    # A browser of its own, whose processes hold nothing else.
    with (
        launch() as own,
        serving(built, default_system) as url,
        open_playground(own, url, inject=WATCH_WASM) as playground,
    ):
        playground.open()
        playground.load()
        watch = MemoryWatch(own, playground.page)
        facts = playground.page.locator(".system-facts")
        for _ in range(WARM_UP):
            playground.run()
        before, shown = watch.measure(), facts.inner_text()
        for _ in range(RUNS - WARM_UP):
            playground.run()
        after = watch.measure()
        print(f"{before}\n{after}")
        # docs/faults.md has the measured figures. The engine's own memory stays as it is, but for optimised code.
        assert after.page - before.page < 1
        assert after.engine - before.engine < 1
        assert after.wasm == before.wasm
        expect(facts).to_have_text(shown)
        # What is left is the browser's own: the heaps of its processes, which grow in pieces and shrink when they like.
        assert after.renderer - before.renderer < 40
        assert after.gpu - before.gpu < 40
