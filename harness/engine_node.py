"""The engine's worker in Node instead of a browser, on the adapter of harness/node.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.libraries import Libraries
from harness.node import open_node

# Gives the worker what it has in a browser, and `ask`, which sends a request and waits for its answer.
_START = """async (worker) => {
  const waiting = new Map();
  globalThis.self = globalThis;
  globalThis.postMessage = (message) => {
    if (message.kind === "done") waiting.get(message.id).resolve(message.result);
    if (message.kind === "failed") waiting.get(message.id).reject(new Error(JSON.stringify(message.error)));
  };
  await import(worker);
  globalThis.ask = (kind, params) => new Promise((resolve, reject) => {
    const id = waiting.size + 1;
    waiting.set(id, { resolve, reject });
    globalThis.onmessage({ data: { kind, id, params } });
  });
}"""


class EngineNode:
    """The worker with one system.

    Attributes:
        adapter: The description of the WebGPU adapter.
    """

    def __init__(self, libraries: Libraries, adapter: str) -> None:
        self._libraries, self.adapter = libraries, adapter

    def load(self, system: Path, **settings: Any) -> dict[str, Any]:
        """Loads a system below the folder that is served; returns what the page would learn of it.

        Args:
            system: The system's folder.
            settings: Options of `loadSystem` in camelCase.
        """
        url = self._libraries.url(system / "system.json")
        script = "([url, settings]) => ask('load', { url: new URL(url, location).href, settings })"
        loaded: dict[str, Any] = self._libraries.evaluate(script, [url, {"cache": False, **settings}])
        return loaded

    def counters(self) -> dict[str, int]:
        """Counts since loading began."""
        counts: dict[str, int] = self._libraries.evaluate("() => ask('counters', null)")
        return counts

    def run(self, question: str, **options: Any) -> dict[str, Any]:
        """Answers a question; the options are RunOptions in camelCase."""
        # JSON would make objects of the arrays of traced states.
        plain = "(key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value)"
        script = f"async (options) => JSON.parse(JSON.stringify(await ask('run', options), {plain}))"
        result: dict[str, Any] = self._libraries.evaluate(script, {"question": question, **options})
        return result


@contextmanager
def open_engine(harness: Path, files: Path, *, idle: bool = False) -> Iterator[EngineNode]:
    """Starts the worker.

    Args:
        harness: From `build_harness`; its worker is the page's.
        files: The folder with the systems.
        idle: Whether the adapter does nothing; see harness/idle-gpu.mjs.

    Raises:
        NoAdapterError: If there is no adapter.
    """
    (worker,) = harness.glob("assets/worker-*.js")
    with open_node(files, idle=idle) as (libraries, adapter):
        libraries.evaluate(_START, worker.as_uri())
        yield EngineNode(libraries, adapter)
