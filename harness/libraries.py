"""Lets a test call compiled libraries in headless Chromium, with numpy arrays in and out."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser

from harness.chromium import launch, new_context
from harness.server import serve

HERE = Path(__file__).parent
WEB_RUNTIME = HERE.parent / "web/node_modules/@mlc-ai/web-runtime/lib"
PAGE_SIZE = 16

__all__ = ["KVCache", "Libraries", "Library", "Ref", "Shape", "launch", "open_libraries"]


@dataclass(frozen=True)
class Ref:
    """An object that stays in the page: a KV cache, a tensor or a tuple of tensors."""

    number: int


@dataclass(frozen=True)
class Shape:
    """A shape tuple argument."""

    sizes: tuple[int, ...]


@contextmanager
def open_libraries(browser: Browser, files: Path) -> Iterator["Libraries"]:
    """Opens the harness page.

    Args:
        browser: A browser from `launch`.
        files: The folder with the libraries.
    """
    roots = {"/harness": HERE, "/web-runtime": WEB_RUNTIME, "/files": files}
    with serve(roots) as origin:
        page = new_context(browser).new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(f"page: {error}"))
        page.goto(f"{origin}/harness/harness.html")
        yield Libraries(page, files, failures)
        page.context.close()


class HarnessPage(Protocol):
    """A page, or something that evaluates JavaScript like one."""

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Evaluates JavaScript, calling it with the argument if it is a function."""


class Libraries:
    """The harness page.

    Attributes:
        adapter: The browser's description of the WebGPU adapter.
    """

    def __init__(self, page: HarnessPage, files: Path, failures: list[str]) -> None:
        self._page = page
        self._files = files
        self._failures = failures
        self._count = 0
        self.adapter: dict[str, Any] = page.evaluate("harness.openDevice()")

    def load(self, wasm: Path) -> "Library":
        """Loads a library and compiles its shaders."""
        self._count += 1
        name = f"library-{self._count}"
        metadata = json.loads(self.evaluate("([id, url]) => harness.load(id, url)", [name, self.url(wasm)]))
        return Library(self, name, metadata)

    def url(self, path: Path) -> str:
        """The URL of a file or folder in the page's files."""
        return f"/files/{path.relative_to(self._files)}"

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Runs JavaScript. Fails with every complaint of WebGPU or TVM since the last call."""
        failed: Exception | None = None
        value = None
        try:
            value = self._page.evaluate(script, argument)
        except Exception as error:
            failed = error
        complaints = [*self._page.evaluate("harness.complaints()"), *self._failures]
        self._failures.clear()
        if failed is not None or complaints:
            raise AssertionError("\n".join([*complaints, str(failed or "")])) from failed
        return value


class Library:
    """One loaded library.

    Attributes:
        metadata: Parsed `_metadata`.
    """

    def __init__(self, libraries: Libraries, name: str, metadata: dict[str, Any]) -> None:
        self._libraries = libraries
        self._name = name
        self.metadata = metadata

    def call(self, function: str, *arguments: Any) -> Any:
        """Calls a function with arrays, `Ref`, `Shape`, lists (tuples of tensors) and ints.

        Returns:
            An array for a tensor, a list for a tuple, None for nothing, and a `Ref` for any other object.
        """
        specs = [_encode(argument) for argument in arguments]
        script = "([id, fn, args]) => harness.call(id, fn, args)"
        return _decode(self._libraries.evaluate(script, [self._name, function, specs]))

    def hold(self, function: str, *arguments: Any) -> Ref:
        """Calls a function whose result stays in the page, such as a tuple of tensors."""
        specs = [_encode(argument) for argument in arguments]
        script = "([id, fn, args]) => harness.hold(id, fn, args)"
        return Ref(self._libraries.evaluate(script, [self._name, function, specs])["ref"])

    def upload(self, argument: Any) -> Ref:
        """Uploads an argument once, for several calls."""
        script = "([id, spec]) => harness.upload(id, spec)"
        return Ref(self._libraries.evaluate(script, [self._name, _encode(argument)])["ref"])

    def read(self, ref: Ref) -> Any:
        """Reads back what an uploaded tensor, or each tensor of a tuple, holds now."""
        return _decode(self._libraries.evaluate("([id, ref]) => harness.read(id, ref)", [self._name, ref.number]))

    def kv_cache(self, *, max_total: int | None = None) -> "KVCache":
        """Creates a KV cache with one empty sequence."""
        total = max_total or self.metadata["context_window_size"]
        sizes = (1, total, self.metadata["prefill_chunk_size"], PAGE_SIZE, 0)
        ref = self.call("create_tir_paged_kv_cache", *(Shape((size,)) for size in sizes))
        return KVCache(self, ref)

    def params(self, folder: Path) -> Ref:
        """Uploads the parameters from the weight shards in a folder of the page's files."""
        url = self._libraries.url(folder) + "/"
        names = [each["name"] for each in self.metadata["params"]]
        script = "([id, url, names]) => harness.params(id, new URL(url, location).href, names)"
        return Ref(self._libraries.evaluate(script, [self._name, url, names])["ref"])

    def unload(self) -> None:
        """Frees the library and its GPU memory."""
        self._libraries.evaluate("(id) => harness.unload(id)", self._name)


class KVCache:
    """A KV cache with one sequence, and a recurrent state if the library has one.

    Attributes:
        ref: The KV cache.
        state: The recurrent state in a list, which is empty if there is none.
    """

    def __init__(self, library: Library, ref: Ref) -> None:
        self._library = library
        self.ref = ref
        recurrent = "recurrent_state_bytes" in library.metadata["recursivemas"]
        self.state = [library.hold("create_recurrent_state")] if recurrent else []
        library.call("global:vm.builtin.kv_state_add_sequence", ref, 0)

    def forward(self, function: str, embed: NDArray[Any], *arguments: Any) -> NDArray[Any]:
        """Calls a function that appends the (1, T, D) positions of `embed`; returns its tensor."""
        length = int(embed.shape[1])
        self._library.call("global:vm.builtin.kv_state_begin_forward", self.ref, Shape((0,)), Shape((length,)))
        tensor, *_ = self._library.call(function, embed, self.ref, *self.state, *arguments)
        self._library.call("global:vm.builtin.kv_state_end_forward", self.ref)
        array: NDArray[Any] = tensor
        return array


def _encode(argument: Any) -> dict[str, Any]:
    match argument:
        case Ref(number):
            return {"ref": number}
        case Shape(sizes):
            return {"shape_tuple": list(sizes)}
        case list() | tuple():
            return {"items": [_encode(item) for item in argument]}
        case int():
            return {"scalar": argument, "dtype": "int64"}
    array = np.ascontiguousarray(argument)
    data = base64.b64encode(array.tobytes()).decode("ascii")
    return {"shape": list(array.shape), "dtype": str(array.dtype), "data": data}


def _decode(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if "data" not in value:
        return Ref(value["ref"])
    raw = base64.b64decode(value["data"])
    return np.frombuffer(raw, dtype=value["dtype"]).reshape(value["shape"])
