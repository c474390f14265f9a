"""Runs the harness in Node, on any WebGPU adapter: a GPU, Mesa's llvmpipe or Chromium's SwiftShader.

SwiftShader has no `shader-f16`. Dawn, Chromium's WebGPU, offers it on every Vulkan driver that has it, such as Mesa's
llvmpipe from about version 24 (`VK_DRIVER_FILES` may name its `lvp_icd.*.json`).
"""

import ctypes.util
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.chromium import CHROMIUM
from harness.libraries import HERE, Libraries
from harness.server import serve

WEB = HERE.parent / "web"


class NoAdapterError(Exception):
    """This machine has no WebGPU adapter, or none with float16."""


def software_gpu() -> dict[str, str]:
    """Variables with which Node's WebGPU finds SwiftShader, which Chromium brings, beside the GPUs of this machine.

    They are empty if Chromium's folder has no SwiftShader, or if one's own variables already choose the drivers.
    """
    if any(os.environ.get(name) for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES")):
        return {}
    # Debian's program is a script that starts the one in the second folder.
    for folder in (Path(CHROMIUM).resolve().parent, Path("/usr/lib/chromium")):
        driver = folder / "vk_swiftshader_icd.json"
        if driver.is_file():
            variables = {"VK_ADD_DRIVER_FILES": str(driver)}
            if ctypes.util.find_library("vulkan") is None:  # then Chromium's own loader serves
                variables["LD_LIBRARY_PATH"] = os.pathsep.join(
                    filter(None, [os.environ.get("LD_LIBRARY_PATH"), str(folder)])
                )
            return variables
    return {}


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
def open_node(files: Path, *, idle: bool = False, half: bool = False) -> Iterator[tuple[Libraries, str]]:
    """Opens the harness in Node.

    Args:
        files: The folder with the libraries.
        idle: Whether the adapter does nothing; see harness/idle-gpu.mjs.
        half: Whether the adapter must have float16.

    Yields:
        The harness and the adapter's description.

    Raises:
        NoAdapterError: If there is no such adapter.
    """
    with serve({"/files": files}) as origin:
        words = [word for word, wanted in (("idle", idle), ("half", half)) if wanted]
        command = ["node", str(HERE / "node.mjs"), str(WEB), origin, *words]
        environment = os.environ | ({} if half else software_gpu())
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                page = NodePage(process)
                yield Libraries(page, files, []), page.adapter
            finally:
                process.kill()
