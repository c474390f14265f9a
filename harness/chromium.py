"""Headless Chromium for every kind of browser test."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright, sync_playwright

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
    if not _running:
        _running.append(sync_playwright().start())
    _users += 1
    browser = _running[0].chromium.launch(executable_path=CHROMIUM, args=[*QUIET_FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()
        _users -= 1
        if _users == 0:
            _running.pop().stop()
