"""Runs the harness in Node, on any WebGPU adapter with float16: a GPU, or Mesa's llvmpipe.

Chromium's own software adapter has no `shader-f16`. Dawn, Chromium's WebGPU, offers it on every Vulkan driver that has
it, such as Mesa's llvmpipe from about version 24 (`VK_DRIVER_FILES` may name its `lvp_icd.*.json`).
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.libraries import HERE, Libraries
from harness.server import serve

WEB = HERE.parent / "web"


class NoAdapterError(Exception):
    """This machine has no WebGPU adapter with float16."""


class NodePage:
    """Evaluates JavaScript in Node, in place of a page.

    Attributes:
        adapter: The description of the WebGPU adapter.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.adapter: str = ""
        try:
            self.adapter = self._answer()
        except AssertionError as error:
            raise NoAdapterError(str(error)) from None

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Evaluates JavaScript as Playwright's `Page.evaluate` does."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([script, argument]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "Node ended"}
        assert "error" not in answer, answer["error"]
        return answer["value"]


@contextmanager
def open_node(files: Path, *, idle: bool = False) -> Iterator[tuple[Libraries, str]]:
    """Opens the harness in Node.

    Args:
        files: The folder with the libraries.
        idle: Whether the adapter does nothing; see harness/idle-gpu.mjs.

    Yields:
        The harness and the adapter's description.

    Raises:
        NoAdapterError: If there is no adapter with float16.
    """
    with serve({"/files": files}) as origin:
        command = ["node", str(HERE / "node.mjs"), str(WEB), origin, *(["idle"] if idle else [])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                page = NodePage(process)
                yield Libraries(page, files, []), page.adapter
            finally:
                process.kill()
