"""How much memory a page, its engine and the browser's processes hold, once garbage is collected."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

MIB = 2**20

# To inject with `open_playground`: how much memory the instances of WebAssembly have.
WATCH_WASM = """
{
  const memories = [];
  const keep = (instance) => {
    const { memory } = instance.exports;
    if (memory) memories.push(memory);
    return instance;
  };
  WebAssembly.Instance = new Proxy(WebAssembly.Instance, {
    construct: (target, given) => keep(new target(...given)),
  });
  const instantiate = WebAssembly.instantiate;
  WebAssembly.instantiate = async (...given) => {
    const made = await instantiate.apply(WebAssembly, given);
    keep(made.instance ?? made);
    return made;
  };
  self.wasmBytes = () => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}
"""


@dataclass(frozen=True)
class Memory:
    """Memory in MiB.

    Attributes:
        page: JavaScript of the page.
        engine: JavaScript of the engine's worker.
        wasm: Linear memory of the agents' libraries.
        renderer: What only the page's process holds.
        gpu: What only the browser's GPU process holds; with a software adapter that includes the GPU's memory.
    """

    page: float
    engine: float
    wasm: float
    renderer: float
    gpu: float


class MemoryWatch:
    """Measures a page whose worker has started.

    Args:
        browser: The browser of the page, which has no other.
        page: Opened with `WATCH_WASM`.
    """

    def __init__(self, browser: Browser, page: Page) -> None:
        self._browser = browser.new_browser_cdp_session()
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._answers: dict[int, Any] = {}
        self._number = 0
        attached: list[str] = []
        self._session.on("Target.attachedToTarget", lambda event: attached.append(event["sessionId"]))
        self._session.on("Target.receivedMessageFromTarget", self._receive)
        wanted = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False}
        self._session.send("Target.setAutoAttach", wanted)
        (self._worker,) = attached

    def _receive(self, event: Any) -> None:
        message = json.loads(event["message"])
        self._answers[message.get("id", 0)] = message.get("result")

    def _ask_worker(self, method: str) -> Any:
        self._number += 1
        message = json.dumps({"id": self._number, "method": method})
        self._session.send("Target.sendMessageToTarget", {"sessionId": self._worker, "message": message})
        while self._number not in self._answers:
            self._page.wait_for_timeout(20)
        return self._answers.pop(self._number)

    def measure(self) -> Memory:
        """Collects garbage, and measures."""
        for _ in range(2):
            self._session.send("HeapProfiler.collectGarbage")
            self._ask_worker("HeapProfiler.collectGarbage")
        (worker,) = self._page.workers
        processes = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        held = [(each["type"], _private_bytes(each["id"]) / MIB) for each in processes]
        return Memory(
            page=self._session.send("Runtime.getHeapUsage")["usedSize"] / MIB,
            engine=self._ask_worker("Runtime.getHeapUsage")["usedSize"] / MIB,
            wasm=worker.evaluate("() => self.wasmBytes()") / MIB,
            renderer=max(bytes_ for kind, bytes_ in held if kind == "renderer"),
            gpu=max(bytes_ for kind, bytes_ in held if kind == "GPU"),
        )


def _private_bytes(process: int) -> int:
    """What only this process holds, in memory."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    sizes = [line.split() for line in lines if line.startswith("Private_")]
    return sum(int(size) for _, size, _ in sizes) << 10
