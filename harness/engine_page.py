"""The engine in headless Chromium, called from a test: JSON in, JSON out, numpy for matrices."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from harness.chromium import PATIENCE_MS, close_context, launch, new_context
from recursivemas.release.serve import site_app
from recursivemas.training.recursion import Recursion

WEB = Path(__file__).parents[1] / "web"

TOLERANCE = 1e-3

# To inject with `open_page`: when the engine has read a first part of a shard, its path plus ".read" is asked for.
TELL_WHAT_IS_READ = """
const fetchFile = self.fetch;
self.fetch = async (...request) => {
  const response = await fetchFile(...request);
  if (!response.url.endsWith(".bin") || !response.body) return response;
  const getReader = response.body.getReader.bind(response.body);
  response.body.getReader = () => {
    const reader = getReader();
    const read = reader.read.bind(reader);
    let told = false;
    reader.read = async () => {
      const part = await read();
      if (!told) void fetchFile(`${response.url}.read`);
      told = true;
      return part;
    };
    return reader;
  };
  return response;
};
"""

__all__ = [
    "TELL_WHAT_IS_READ",
    "EngineError",
    "EnginePage",
    "assert_same_turns",
    "build_harness",
    "launch",
    "matrix",
    "open_page",
    "relative_error",
    "serving",
]


class EngineError(AssertionError):
    """The engine stopped.

    Attributes:
        code: Which kind of failure.
        message: The one line for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def build_harness(out: Path) -> Path:
    """Builds the page that the tests drive (web/test/harness) as the playground is built."""
    command = ["npx", "--no-install", "vite", "build", "--mode", "harness", "--outDir", str(out), "--logLevel", "warn"]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True, text=True)
    return out


@contextmanager
def serving(
    harness: Path, systems: Path, below: str = "", around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> Iterator[str]:
    """Serves the harness and a folder of built systems exactly as `rmas serve` does.

    Args:
        harness: From `build_harness`.
        systems: A folder of built systems.
        below: A sub-path such as ``/some/where``.
        around: Puts something around the server's application, to break connections on purpose.

    Yields:
        The page's URL, ending in ``/``.
    """
    app = around(site_app(harness, systems))
    mounted = Starlette(routes=[Mount(below, app)]) if below else app
    server = uvicorn.Server(uvicorn.Config(mounted, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}{below}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def open_page(browser: Browser, url: str, inject: str = "") -> Iterator["EnginePage"]:
    """Opens the harness.

    Args:
        browser: From `launch`.
        url: From `serving`.
        inject: JavaScript put before the worker's own, to break WebGPU on purpose.
    """
    context = new_context(browser)
    page = context.new_page()
    if inject:

        def add(route: Any) -> None:
            response = route.fetch()
            route.fulfill(response=response, body=inject + "\n" + response.text())

        context.route("**/assets/worker-*.js", add)
    engine = EnginePage(page)
    page.goto(url)
    yield engine
    close_context(context)


class EnginePage:
    """The harness page.

    Attributes:
        page: Playwright's page.
        complaints: Content-security violations and uncaught exceptions.
        loaded: What a fixture loaded.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.loaded: dict[str, Any] = {}
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)

    def load(
        self, url: str, *, cache: bool = False, one_by_one: bool = False, few_calls: bool = True
    ) -> dict[str, Any]:
        """Loads a system, all agents at once or each for its turns; returns device, questions, progress and counters.

        Args:
            url: Of its manifest.
            cache: Whether files are kept in the browser's cache.
            one_by_one: Whether each agent is loaded for its turns.
            few_calls: Whether the web runtime's calls to the GPU are merged.

        Raises:
            EngineError: As the engine's.
        """
        outcome: dict[str, Any] = self._call("load", url, cache, one_by_one, few_calls)
        return outcome

    def run(self, question: str, cancel: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Answers a question.

        Args:
            question: The question.
            cancel: ``{"kind": …, "count": …}``: cancels after so many events of a kind.
            options: RunOptions in camelCase.

        Raises:
            EngineError: As the engine's.
        """
        outcome: dict[str, Any] = self._call("run", {"question": question, **options}, cancel)
        return outcome

    def counters(self) -> dict[str, int]:
        """Counts since loading began."""
        outcome: dict[str, int] = self._call("counters")
        return outcome

    def dispose(self) -> dict[str, int]:
        """Frees the system; returns the last counts."""
        outcome: dict[str, int] = self._call("dispose")
        return outcome

    def cancel_load(self, url: str, phase: str) -> dict[str, Any]:
        """Loads a system and cancels at the first progress of a phase.

        Returns:
            ``code``, how it failed, and ``late``, how often progress was told after that.
        """
        outcome: dict[str, Any] = self._call("cancelLoad", url, phase)
        return outcome

    def look_at(self, dtype: str, runs: list[list[dict[str, Any]]]) -> list[int | str]:
        """What the engine's check for NaN and infinity finds in each run's rows; see web/test/harness/finite.ts."""
        outcome: list[int | str] = self._call("lookAt", dtype, runs)
        return outcome

    def wait_for_no_worker(self) -> None:
        """Waits until every worker of the page has ended."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while self.page.workers and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)

    def lost(self) -> None:
        """Waits for the device to be lost.

        Raises:
            EngineError: When it is.
        """
        self._call("lost")

    def _call(self, name: str, *arguments: Any) -> Any:
        script = f"(args) => window.harness.{name}(...args.map((each) => each ?? undefined))"
        outcome = self.page.evaluate(script, list(arguments))
        if isinstance(outcome, dict) and "error" in outcome:
            raise EngineError(**outcome["error"])
        return outcome


def matrix(states: dict[str, Any]) -> NDArray[np.float32]:
    """A (rows, columns) matrix that the engine read back."""
    return np.asarray(states["data"], np.float32).reshape(states["rows"], states["columns"])


def relative_error(came: NDArray[Any], expected: NDArray[Any]) -> float:
    """‖a - b‖ / ‖b‖."""
    assert came.shape == expected.shape
    return float(np.linalg.norm(came - expected) / np.linalg.norm(expected))


def assert_same_turns(
    came: dict[str, Any], expected: list[Any], reference: Recursion, tolerance: float = TOLERANCE
) -> float:
    """Every turn's thoughts and every hand-off that is read equal PyTorch's.

    Args:
        came: From `EnginePage.run` with both traced.
        expected: The reference's turns.
        reference: What they came from.
        tolerance: For ‖a - b‖ / ‖b‖ of each.

    Returns:
        The largest ‖a - b‖ / ‖b‖.
    """
    worst = 0.0
    assert [(turn["agent"], turn["round"]) for turn in came["turns"]] == [(turn.agent, turn.round) for turn in expected]
    for ours, theirs in zip(came["turns"], expected, strict=True):
        if theirs.thoughts is not None:
            worst = max(worst, relative_error(matrix(ours["thoughts"]), theirs.thoughts[0].numpy()))
    hand_offs = {(turn.round, edge): states for turn in expected for edge, states in turn.hand_offs.items()}
    assert came["handoffs"]
    for handed in came["handoffs"]:
        states = hand_offs.pop((handed["round"], handed["edge"]))
        worst = max(worst, relative_error(matrix(handed["states"]), states[0].numpy()))
    feedback = {edge.id for edge in reference.system.edges if edge.feedback}
    last = max(turn.round for turn in expected)
    assert all(edge in feedback and round_index == last for round_index, edge in hand_offs), "a hand-off is missing"
    assert worst < tolerance
    return worst
