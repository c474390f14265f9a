"""A visit to the playground on which something breaks: the server's answers, parts of the browser, files, links."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Route, expect

from harness.chromium import close_context, new_context
from harness.playground import Playground, drop

Change = Callable[[dict[str, Any]], Any]

# What never answers is given up at once, not after half a minute or more: the timer that begins when it is asked is the
# one that guards it. No other patience gets shorter, so that a busy machine changes nothing. Pauses are short.
IMPATIENT = """
{
  const later = setTimeout;
  let asked = 0;
  globalThis.neverAnswers = () => {
    asked += 1;
    return new Promise(() => {});
  };
  globalThis.setTimeout = (work, ms, ...rest) => {
    const guards = ms >= 30000 && asked > 0;
    if (guards) asked -= 1;
    return later(work, guards ? 10 : ms > 250 && ms < 10000 ? ms / 50 : ms, ...rest);
  };
}
"""


class Visit:
    """A page of its own.

    Attributes:
        context: Playwright's context of the page.
        playground: The page.
        system: The folder of the system that the server has.
        folder: An empty folder.
        asked: What the browser's own dialogs said.
    """

    def __init__(self, browser: Browser, url: str, system: Path, folder: Path, **options: Any) -> None:
        self.context: BrowserContext = new_context(
            browser, viewport={"width": 1280, "height": 800}, **{"service_workers": "block", **options}
        )
        self.playground = Playground(self.context.new_page(), url)
        self.page = self.playground.page
        self.system, self.folder = system, folder
        self.asked: list[str] = []
        self._changes: list[Change] = []
        self._worker: list[str] = []

    def close(self) -> None:
        """Ends the visit."""
        close_context(self.context)

    def answer(self, pattern: str, body: str | bytes = "", status: int = 200, **more: Any) -> None:
        """The server answers with something else from now on."""
        self.page.route(pattern, lambda route: route.fulfill(status=status, body=body, **more))

    def refuse(self, pattern: str) -> None:
        """Nothing answers at all."""
        self.page.route(pattern, lambda route: route.abort())

    def stall(self, pattern: str) -> None:
        """The connection opens, and nothing ever comes."""
        self.page.route(pattern, lambda route: None)

    def manifest(self, change: Change) -> None:
        """The server has a changed manifest."""
        if not self._changes:
            self.page.route("**/systems/*/system.json", self._send_manifest)
        self._changes.append(change)

    def _send_manifest(self, route: Route) -> None:
        manifest = json.loads((self.system / "system.json").read_text(encoding="utf-8"))
        for change in self._changes:
            change(manifest)
        route.fulfill(body=json.dumps(manifest), content_type="application/json")

    def path(self, pattern: str) -> str:
        """The first file of a kind, relative to the system's folder."""
        return next(path.relative_to(self.system).as_posix() for path in sorted(self.system.rglob(pattern)))

    def content(self, pattern: str) -> bytes:
        """The content of that file."""
        return (self.system / self.path(pattern)).read_bytes()

    def damage(self, pattern: str, content: bytes) -> None:
        """The server has another content of a file than the manifest says."""
        self.answer(f"**/{self.path(pattern)}", content)

    def signed(self, pattern: str, content: bytes) -> None:
        """A system was built with another content of a file: the manifest lists it as it is."""
        path = self.path(pattern)
        self.answer(f"**/{path}", content)

        def change(manifest: dict[str, Any]) -> None:
            (record,) = (each for each in manifest["files"] if each["path"] == path)
            record.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

        self.manifest(change)

    def before_page(self, script: str) -> None:
        """Runs a script before the page's own."""
        self.page.add_init_script(script)

    def before_worker(self, script: str) -> None:
        """Runs a script before that of the engine's worker."""
        if not self._worker:
            self.context.route("**/assets/worker-*.js", self._send_worker)
        self._worker.append(script)

    def _send_worker(self, route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body="\n".join([*self._worker, response.text()]))

    def impatient(self) -> None:
        """Scripts may ask `neverAnswers()`, which the page and the engine give up at once."""
        self.before_page(IMPATIENT)
        self.before_worker(IMPATIENT)

    def open(self, query: str = "") -> None:
        """Opens the page, and waits until it knows its system or says why it does not."""
        self.playground.open(query)

    def load(self) -> None:
        """Opens the page and asks it to load the agents."""
        self.open()
        self.playground.button.click()

    def passes(self) -> None:
        """Loads the agents until every file has passed; how long shaders compile is up to the machine."""
        self.load()
        compiling = self.page.locator(".load-head", has_text="Compiling")
        ready = self.page.locator(".primary", has_text="Run")
        expect(compiling.or_(ready).or_(self.page.locator(".problem")).first).to_be_visible()

    def give(self, name: str, content: str | bytes) -> None:
        """Opens a file of the visitor's as a saved run is opened."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.open("?view=inside")
        self.page.locator(".view-tools input[type=file]").set_input_files(path)

    def drop(self, path: Path) -> None:
        """Drops a file or folder on the page."""
        drop(self.page, path)

    @property
    def heading(self) -> str:
        """The heading of the problem that the page shows; empty if it shows none."""
        shown = self.page.locator(".problem h2")
        return shown.inner_text() if shown.count() else ""

    @property
    def details(self) -> str:
        """The technical details of that problem."""
        return self.page.locator(".problem details code").text_content() or ""
