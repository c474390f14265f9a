"""Headless Chromium for every kind of browser test."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Playwright, expect, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# Keeps Chromium from phoning home.
QUIET_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
# A software adapter, so that no test needs a GPU.
WEBGPU_FLAGS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
# The only limit on waiting for a page. A busy machine must not reach it: loading and answering takes software WebGPU
# half a minute on idle cores.
PATIENCE_MS = 300_000

# Playwright's synchronous interface cannot be started twice in a process, so all browsers of a session share one.
_running: list[Playwright] = []
_users = 0


@contextmanager
def launch(flags: Sequence[str] = WEBGPU_FLAGS) -> Iterator[Browser]:
    """A browser of its own; several may be open at once.

    Args:
        flags: Beside those that keep it quiet.
    """
    global _users
    expect.set_options(timeout=PATIENCE_MS)
    if not _running:
        _running.append(sync_playwright().start())
    _users += 1
    browser = _running[0].chromium.launch(executable_path=CHROMIUM, args=[*QUIET_FLAGS, *flags], timeout=PATIENCE_MS)
    try:
        yield browser
    finally:
        browser.close()
        _users -= 1
        if _users == 0:
            _running.pop().stop()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A context of its own, whose pages wait as long as `PATIENCE_MS`.

    Args:
        browser: A browser from `launch`.
        options: Playwright's.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    return context


def close_context(context: BrowserContext) -> None:
    """Closes a context of `new_context`. Routes that still wait for an answer fail unheard, not in the next test."""
    for page in context.pages:
        page.unroute_all(behavior="ignoreErrors")
    context.unroute_all(behavior="ignoreErrors")
    context.close()
