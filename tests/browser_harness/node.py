"""The harness in Node, on whatever WebGPU adapter this machine has with float16: a GPU, or Mesa's llvmpipe.

Chromium's own software adapter has no `shader-f16`. Dawn, its WebGPU, has it on any Vulkan driver that does; Mesa's
llvmpipe is one from version 24 or so (`VK_DRIVER_FILES` may name its `lvp_icd.*.json`).
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser_harness.libraries import HERE, Libraries
from tests.browser_harness.server import serve

WEB = HERE.parents[1] / "web"


class NoAdapterError(Exception):
    """There is no WebGPU adapter with float16 here."""


class NodePage:
    """What `Libraries` needs of a page.

    Attributes:
        adapter: Its description.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.adapter: str = ""
        try:
            self.adapter = self._answer()
        except AssertionError as error:
            raise NoAdapterError(str(error)) from None

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """As Playwright's."""
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
def open_node(files: Path) -> Iterator[tuple[Libraries, str]]:
    """Opens the harness in Node.

    Args:
        files: Folder that the libraries are in.

    Yields:
        The harness and the adapter's description.

    Raises:
        NoAdapterError: There is no adapter with float16.
    """
    with serve({"/files": files}) as origin:
        command = ["node", str(HERE / "node.mjs"), str(WEB), origin]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                page = NodePage(process)
                yield Libraries(page, files, []), page.adapter
            finally:
                process.kill()
