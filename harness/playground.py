"""The playground page in headless Chromium, used as a visitor uses it."""

import gzip
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from playwright.sync_api import Browser, Locator, Page, Route, expect

from harness.chromium import close_context, new_context
from harness.engine_page import WEB

VIEWS = ("Watch", "Chat", "Look inside", "Compare", "Measure", "Change", "Links", "Devices", "How it works")
# Where pictures for review go; a temporary folder when it is not set.
GALLERY = os.environ.get("RMAS_GALLERY")

Theme: TypeAlias = Literal["light", "dark"]


def build_page(out: Path) -> Path:
    """Builds the page that ships."""
    command = ["npx", "--no-install", "vite", "build", "--outDir", str(out), "--logLevel", "warn"]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True, text=True)
    return out


class Playground:
    """The page.

    Attributes:
        page: Playwright's page.
        url: Where it was opened.
        complaints: Content-security violations and uncaught exceptions.
        requests: URLs that were asked for, in order.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        # The held-out question whose run is in view, as far as `answered` knows.
        self.asked = 0
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)
        page.on("request", lambda request: self.requests.append(request.url))

    def _listen(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def open(self, query: str = "") -> None:
        """Opens the page, and waits until it knows its system or says why it does not."""
        self.page.goto(self.url + query)
        self.page.wait_for_selector(".primary:not(:disabled), .problem")

    @property
    def button(self) -> Locator:
        """The one that loads, runs or cancels."""
        return self.page.locator(".primary")

    def load(self) -> None:
        """Loads the agents."""
        self.button.click()
        expect(self.button).to_contain_text("Run")

    def view(self, name: str) -> None:
        """Goes to a view."""
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=name, exact=True).click()

    def ask(self, number: int) -> None:
        """Chooses a held-out question, counted from 1."""
        self.page.get_by_label("Choose a question").select_option(str(number))

    def run(self) -> None:
        """Runs the question and waits for the answer."""
        self.asked = 0
        self.button.click()
        self.wait()

    def wait(self) -> None:
        """Waits until nothing runs."""
        expect(self.button).to_have_text("Run again")

    def answered(self, number: int) -> None:
        """Sees to it that a whole run of a held-out question is in view, by the system's own settings."""
        if (self.asked, self.button.inner_text()) != (number, "Run again"):
            self.ask(number)
            self.run()
            self.asked = number

    @property
    def answer(self) -> str:
        """The decoded answer as it stands."""
        return self.page.locator(".answer-body").inner_text()

    def figure(self, label: str) -> str:
        """One of the numbers beside the answer."""
        return self.page.locator(".figure", has_text=label).locator("dd").inner_text()

    @property
    def problem(self) -> str:
        """What the page says went wrong; empty when nothing did."""
        shown = self.page.locator(".problem")
        return shown.inner_text() if shown.count() else ""

    def query(self, pattern: str) -> None:
        """Waits until the address matches."""
        self.page.wait_for_url(re.compile(pattern))

    def settle(self) -> None:
        """Waits until the page has drawn what it has to draw and its transitions are over."""
        self.page.evaluate(
            """async () => {
              const drawn = () => new Promise(requestAnimationFrame);
              await drawn();
              await drawn();
              const moving = document.getAnimations().filter(
                (each) => each.playState === "running" && each.effect.getComputedTiming().endTime !== Infinity,
              );
              await Promise.allSettled(moving.map((each) => each.finished));
              await drawn();
            }"""
        )

    def reset(self) -> None:
        """Back to the system's own settings and the Watch view."""
        self.view("Change")
        button = self.page.get_by_role("button", name="Back to the system’s own")
        if button.is_enabled():
            button.click()
        self.view("Watch")

    def shoot(self, name: str, folder: Path, *, whole: bool = True) -> Path:
        """Writes a picture for review."""
        target = (Path(GALLERY) if GALLERY else folder) / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("window.scrollTo(0, 0)")
        self.page.screenshot(path=target, full_page=whole, animations="disabled")
        return target


@contextmanager
def open_playground(browser: Browser, url: str, inject: str = "", **context_options: Any) -> Iterator[Playground]:
    """A page of its own, with empty storage.

    Args:
        browser: From `launch`.
        url: From `serving`.
        inject: JavaScript put before the worker's own, to break WebGPU on purpose.
        context_options: Playwright's: viewport, color_scheme, …
    """
    # Without a service worker every request can be seen and broken on purpose.
    options = {"viewport": {"width": 1280, "height": 800}, "service_workers": "block", **context_options}
    context = new_context(browser, **options)
    if inject:

        def add(route: Route) -> None:
            response = route.fetch()
            route.fulfill(response=response, body=inject + "\n" + response.text())

        context.route("**/assets/worker-*.js", add)
    yield Playground(context.new_page(), url)
    close_context(context)


def script_bytes(requests: Iterable[str], url: str, folder: Path) -> int:
    """Bytes of the page's scripts among requests, each gzipped.

    Each counts once: the page asks for its files a second time to keep them, and no bytes of them come again then.

    Args:
        requests: URLs.
        url: The page's.
        folder: What is served there.
    """
    scripts = {each.removeprefix(url) for each in requests if each.startswith(url) and each.endswith(".js")}
    return sum(len(gzip.compress((folder / each).read_bytes())) for each in scripts)


def drop(page: Page, path: Path) -> None:
    """Drops a file or a folder of this machine on the page, as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 400, "data": data})
        if kind == "dragOver":
            expect(page.locator(".drop-target.over")).to_be_visible()
    expect(page.locator(".drop-target.over")).to_have_count(0)
    session.detach()
