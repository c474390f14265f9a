"""Every way in which the browser engine stops: one clear line, the right code, and nothing silently zero."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.engine_page import TELL_WHAT_IS_READ, EngineError, launch, open_page, serving

pytestmark = pytest.mark.browser

SYSTEM = "systems/hop-sequential/system.json"
QUESTION = "a>b b>c ? a@1"


@pytest.fixture
def broken(default_system: Path, tmp_path: Path) -> Path:
    """A copy of the default system, to be broken."""
    return Path(shutil.copytree(default_system, tmp_path / "hop-sequential"))


def amend(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes a manifest."""
    manifest = json.loads((folder / "system.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "system.json").write_text(json.dumps(manifest), encoding="utf-8")


def sign(folder: Path, path: str) -> None:
    """Makes the manifest agree with a file that was changed."""
    content = (folder / path).read_bytes()

    def change(manifest: dict[str, Any]) -> None:
        (record,) = (each for each in manifest["files"] if each["path"] == path)
        record.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    amend(folder, change)


def only(folder: Path, pattern: str) -> str:
    """The first file of a kind, relative to the folder."""
    return next(path.relative_to(folder).as_posix() for path in sorted(folder.rglob(pattern)))


def failure_of(browser: Browser, harness: Path, folder: Path) -> EngineError:
    """How loading a system fails."""
    with serving(harness, folder) as url, open_page(browser, url) as page:
        with pytest.raises(EngineError) as failure:
            page.load(SYSTEM)
        assert page.complaints == []
    assert "\n" not in failure.value.message
    return failure.value


@pytest.mark.parametrize("pattern", ["params_shard_*.bin", "*.wasm", "recursivelink*.json", "tokenizer.json"])
def test_engine_refuses_a_corrupted_file(browser: Browser, harness: Path, broken: Path, pattern: str) -> None:
    name = only(broken, pattern)
    content = bytearray((broken / name).read_bytes())
    content[len(content) // 2] ^= 1
    (broken / name).write_bytes(content)
    failure = failure_of(browser, harness, broken)
    assert failure.code == "corrupt-file"
    assert name in failure.message and "sha256" in failure.message


def test_engine_refuses_a_truncated_file(browser: Browser, harness: Path, broken: Path) -> None:
    name = only(broken, "params_shard_*.bin")
    (broken / name).write_bytes((broken / name).read_bytes()[:-100])
    failure = failure_of(browser, harness, broken)
    assert (failure.code, name in failure.message) == ("corrupt-file", True)


def test_engine_refuses_a_missing_file(browser: Browser, harness: Path, broken: Path) -> None:
    name = only(broken, "tensor-cache.json")
    (broken / name).unlink()
    failure = failure_of(browser, harness, broken)
    assert (failure.code, name in failure.message) == ("download", True)
    assert "404" in failure.message


def test_engine_refuses_a_library_that_is_not_webassembly(browser: Browser, harness: Path, broken: Path) -> None:
    name = only(broken, "*.wasm")
    (broken / name).write_bytes(b"<!doctype html>")
    sign(broken, name)
    failure = failure_of(browser, harness, broken)
    assert failure.code == "bad-library"
    assert "does not load" in failure.message


def test_engine_refuses_links_of_other_dimensions(browser: Browser, harness: Path, broken: Path) -> None:
    name = only(broken, "recursivelink*.json")
    links = json.loads((broken / name).read_text(encoding="utf-8"))
    links["inner"]["planner"], links["inner"]["critic"] = links["inner"]["critic"], links["inner"]["planner"]
    (broken / name).write_text(json.dumps(links), encoding="utf-8")
    sign(broken, name)
    failure = failure_of(browser, harness, broken)
    assert failure.code == "bad-links"
    assert "inner link 'planner' maps hidden size 128 to 128, but the agents need 96 to 96" in failure.message


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        ({"rounds": 0}, "bad-manifest", "rounds"),
        ({"colour": "red"}, "bad-manifest", "unknown key 'colour'"),
        ({"required_features": ["shader-f16"]}, "missing-feature", "shader-f16"),
        ({"required_limits": {"maxBufferSize": 1 << 50}}, "insufficient-limits", "maxBufferSize"),
    ],
)
def test_engine_refuses_what_it_cannot_run_before_it_downloads(
    browser: Browser, harness: Path, broken: Path, change: dict[str, Any], code: str, part: str
) -> None:
    with serving(harness, broken) as url:
        amend(broken, lambda manifest: manifest.update(change))
        with open_page(browser, url) as page:
            fetched: list[str] = []
            page.page.on("request", lambda request: fetched.append(request.url))
            with pytest.raises(EngineError) as failure:
                page.load(SYSTEM)
    assert failure.value.code == code
    assert part in failure.value.message
    assert not [each for each in fetched if each.endswith((".bin", ".wasm"))]


def test_engine_refuses_a_page_in_place_of_a_manifest(browser: Browser, harness: Path, default_system: Path) -> None:
    with (
        serving(harness, default_system) as url,
        open_page(browser, url) as page,
        pytest.raises(EngineError) as failure,
    ):
        page.load("index.html")
    assert failure.value.code == "bad-manifest"
    assert "not valid JSON" in failure.value.message


def test_engine_says_when_there_is_no_webgpu(harness: Path, default_system: Path) -> None:
    with serving(harness, default_system) as url:
        for flags in (["--disable-blink-features=WebGPU"], ["--disable-gpu", "--disable-software-rasterizer"]):
            with launch(flags) as plain, open_page(plain, url) as page:
                with pytest.raises(EngineError) as failure:
                    page.load(SYSTEM)
                assert failure.value.code == "no-webgpu"


class BreaksOnce:
    """A server whose connection breaks in the middle of the first shard that is asked for, once a part of it was read.

    Attributes:
        ranges: The Range header of every request for that shard.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.path = ""
        self.ranges: list[str] = []
        self.was_read = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == f"{self.path}.read":
            self.was_read.set()
        if scope["type"] != "http" or not scope["path"].endswith(".bin") or self.path not in ("", scope["path"]):
            return await self.app(scope, receive, send)
        self.path = scope["path"]
        self.ranges.append(dict(scope["headers"]).get(b"range", b"").decode())
        if len(self.ranges) > 1:
            return await self.app(scope, receive, send)

        async def half(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message["body"]
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                # What the page has not read when a connection breaks is lost to it, and asked for again.
                await self.was_read.wait()
                raise ConnectionAbortedError
            await send(message)

        try:
            await self.app(scope, receive, half)
        except ConnectionAbortedError:
            # Returning without the rest makes the server close the connection.
            return None


def test_engine_goes_on_with_a_broken_download_where_it_broke(
    browser: Browser, harness: Path, default_system: Path
) -> None:
    servers: list[BreaksOnce] = []

    def around(app: ASGIApp) -> ASGIApp:
        servers.append(BreaksOnce(app))
        return servers[0]

    with serving(harness, default_system, around=around) as url, open_page(browser, url, TELL_WHAT_IS_READ) as page:
        loaded = page.load(SYSTEM)
    whole, rest = servers[0].ranges
    assert whole == ""
    came = int(rest.removeprefix("bytes=").removesuffix("-"))
    assert 0 < came < (default_system / servers[0].path.partition("hop-sequential/")[2]).stat().st_size
    counts = [each["loadedBytes"] for each in loaded["progress"]]
    assert counts == sorted(counts), "nothing was downloaded twice"


def test_engine_stops_loading_when_cancelled(browser: Browser, harness: Path, default_system: Path) -> None:
    with serving(harness, default_system) as url, open_page(browser, url) as page:
        fetched: list[str] = []
        page.page.on("request", lambda request: fetched.append(request.url))
        for phase in ("manifest", "download", "compile", "upload"):
            assert page.cancel_load(SYSTEM, phase) == {"code": "cancelled", "late": 0}, phase
            page.wait_for_no_worker()
            assert page.page.workers == [], phase
            if phase == "manifest":
                assert not [each for each in fetched if each.endswith((".bin", ".wasm"))]


INVALID_BUFFER = """
const createBuffer = GPUDevice.prototype.createBuffer;
const submit = GPUQueue.prototype.submit;
let submits = 0;
const create = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await create.apply(this, args);
  GPUQueue.prototype.submit = function (...commands) {
    submit.apply(this, commands);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE;
    if (++submits === 5) createBuffer.call(device, { size: 16, usage });
  };
  return device;
};
"""

INVALID_SHADER = """
const compile = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const broken = descriptor.code.includes("rms_norm") ? "fn main( {" : descriptor.code;
  return compile.call(this, { ...descriptor, code: broken });
};
"""

LOST_DEVICE = """
const submit = GPUQueue.prototype.submit;
const destroy = GPUDevice.prototype.destroy;
let submits = 0;
const create = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await create.apply(this, args);
  GPUQueue.prototype.submit = function (...commands) {
    if (++submits === 5) destroy.call(device);
    submit.apply(this, commands);
  };
  return device;
};
"""


@pytest.mark.parametrize(
    ("inject", "code"),
    [(INVALID_BUFFER, "gpu-validation"), (INVALID_SHADER, "gpu-validation"), (LOST_DEVICE, "device-lost")],
    ids=["invalid buffer", "invalid shader", "lost device"],
)
def test_engine_never_answers_after_webgpu_complained(
    browser: Browser, harness: Path, default_system: Path, inject: str, code: str
) -> None:
    with serving(harness, default_system) as url, open_page(browser, url, inject) as page:
        page.load(SYSTEM)
        for _ in range(2):
            with pytest.raises(EngineError) as failure:
                page.run(QUESTION)
            assert failure.value.code == code, failure.value
        if code == "device-lost":
            with pytest.raises(EngineError) as failure:
                page.lost()
            assert failure.value.code == code
        assert page.dispose()["liveBytes"] == 0
