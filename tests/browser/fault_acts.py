"""What breaks in tests of browser faults, and what the visitor does then; browser_faults.py has the table of kinds."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Dialog, expect

from tests.browser.fault_visit import Visit

Act = Callable[[Visit], object]

MANIFEST = "**/systems/*/system.json"
INDEX = "**/systems/index.json"
SHARD = "params_shard_*.bin"
LOGIN = "<!doctype html><title>Guest Wi-Fi</title><h1>Log in to go on</h1>"
DEEP = "[" * 200_000 + "]" * 200_000


def both(*acts: Act) -> Act:
    """Several things, one after another."""

    def all_of_them(visit: Visit) -> None:
        for act in acts:
            act(visit)

    return all_of_them


def opening(*acts: Act, query: str = "") -> Act:
    """The page is opened after these."""
    return both(*acts, lambda visit: visit.open(query))


def loading(*acts: Act) -> Act:
    """The agents are loaded after these."""
    return both(*acts, lambda visit: visit.load())


def passing(*acts: Act) -> Act:
    """The agents are loaded after these, and all files pass."""
    return both(*acts, lambda visit: visit.passes())


def status(pattern: str, code: int) -> Act:
    """The server answers with a status."""
    return lambda visit: visit.answer(pattern, status=code)


def shard(change: Callable[[bytes], bytes]) -> Act:
    """The server has another content of a shard than the manifest says."""
    return lambda visit: visit.damage(SHARD, change(visit.content(SHARD)))


def signed(pattern: str, change: Callable[[str], str]) -> Act:
    """A file of a system that was built so, whose sha256 is right."""
    return lambda visit: visit.signed(pattern, change(visit.content(pattern).decode()).encode())


def manifest(**values: object) -> Act:
    """The manifest has other values."""
    return lambda visit: visit.manifest(lambda data: data.update(values))


def agent(**values: object) -> Act:
    """The first agent of the manifest has other values."""
    return lambda visit: visit.manifest(lambda data: data["agents"][0].update(values))


def worker(script: str) -> Act:
    """Something is different in the engine's worker."""
    return lambda visit: visit.before_worker(script)


def page(script: str) -> Act:
    """Something is different in the page."""
    return lambda visit: visit.before_page(script)


def impatient(visit: Visit) -> None:
    """The patience with what never answers passes at once."""
    visit.impatient()


def links(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """A change of a file of links."""

    def changed(text: str) -> str:
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return changed


def swap_links(data: dict[str, Any]) -> None:
    """Two agents get each other's links."""
    inner = data["inner"]
    inner["planner"], inner["critic"] = inner["critic"], inner["planner"]


def insecure(visit: Visit) -> None:
    """The same site at a plain http address."""
    local = visit.playground.url
    host = "http://plain.example/"
    visit.context.route(
        f"{host}**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace(host, local)))
    )
    visit.playground.url = host
    visit.open("?system=systems/hop-sequential/system.json")


def new_deployment(visit: Visit) -> None:
    """The server has another build, without the files of the one that the page shows."""
    visit.open()
    visit.manifest(lambda data: data.update(description="another build"))
    visit.answer("**/agents/**", status=404)
    visit.playground.button.click()


def other_build(visit: Visit) -> None:
    """The server has another build with other files under the same names."""
    visit.open()
    visit.damage(SHARD, visit.content(SHARD)[::-1])
    visit.playground.button.click()


def ask_at_length(visit: Visit, text: str) -> None:
    """The visitor asks a question of their own."""
    visit.open()
    visit.page.get_by_text("The task and what the agents read").click()
    visit.page.locator(".words textarea").fill(text)


def long_question(visit: Visit) -> None:
    """A question that no address can carry, and a reload."""
    text = "why? " * 20_000
    ask_at_length(visit, text)
    visit.page.wait_for_function("() => history.state !== null")
    assert len(visit.page.url) < 4200
    visit.page.reload()
    expect(visit.page.locator(".words textarea")).to_have_value(text)
    expect(visit.page.get_by_role("heading", name="hop-sequential")).to_be_visible()


def forgotten_question(visit: Visit) -> None:
    """A question that neither the address nor the tab's history can carry."""
    visit.before_page(NO_HISTORY)
    ask_at_length(visit, "why? " * 2000)
    visit.page.wait_for_timeout(400)


def copying(visit: Visit) -> None:
    """The visitor copies the link."""

    def answer(dialog: Dialog) -> None:
        visit.asked.append(dialog.message)
        dialog.dismiss()

    visit.page.on("dialog", answer)
    visit.open("?view=change")
    visit.page.get_by_role("button", name="Copy link").click()


def folder(*names: str) -> Callable[[Visit], Path]:
    """A folder of the visitor's with these files of the system."""

    def make(visit: Visit) -> Path:
        target = visit.folder / "given"
        target.mkdir()
        for name in names:
            (target / name).write_bytes((visit.system / name).read_bytes() if (visit.system / name).is_file() else b"x")
        return target

    return make


def dropping(make: Callable[[Visit], Path]) -> Act:
    """Something is dropped on the page."""

    def act(visit: Visit) -> None:
        given = make(visit)
        visit.open()
        visit.drop(given)

    return act


def file(name: str, content: str) -> Callable[[Visit], Path]:
    """A file of the visitor's."""

    def make(visit: Visit) -> Path:
        path = visit.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    return make


def many_files(visit: Visit) -> Path:
    """More files than any system has."""
    target = visit.folder / "disk"
    target.mkdir()
    for number in range(10_002):
        (target / str(number)).touch()
    return target


def bad_links_file(visit: Visit) -> Path:
    """Links of which two are swapped."""
    path = visit.folder / "other.recursivelink.json"
    path.write_text(links(swap_links)(visit.content("recursivelink*.json").decode()), encoding="utf-8")
    return path


def dropped_links(visit: Visit) -> None:
    """Links for other agents are dropped, and the agents loaded with them."""
    dropping(bad_links_file)(visit)
    expect(visit.page.locator(".system-facts")).to_contain_text("links from other.recursivelink.json")
    visit.playground.button.click()


def load_folder(visit: Visit) -> None:
    """The agents of the folder that was dropped are loaded."""
    visit.page.wait_for_url("**system=folder**")
    visit.playground.button.click()


RUNS = Path(__file__).parents[1] / "fixtures/saved-runs"


def saved(**values: object) -> Act:
    """A saved run with other values is opened."""

    def act(visit: Visit) -> None:
        data = json.loads((RUNS / "version-4.json").read_text(encoding="utf-8"))
        visit.give("run.json", json.dumps(data | values))

    return act


def endless_run(visit: Visit) -> None:
    """A saved run with a time that is no number any more."""
    text = (RUNS / "version-4.json").read_text(encoding="utf-8")
    start, _, rest = text.rpartition('"ms": ')
    visit.give("run.json", f'{start}"ms": 1e999{rest[rest.index(",") :]}')


def variants(visit: Visit) -> None:
    """The system has a variant."""
    visit.manifest(
        lambda data: data.update(
            variants=[{"agents": data["agents"], "quantization": "q0f32", "memory_bytes": data["memory_bytes"]}]
        )
    )


NO_ADAPTER = "navigator.gpu.requestAdapter = async () => null;"
SILENT_ADAPTER = "navigator.gpu.requestAdapter = () => neverAnswers();"
NO_WEBGPU = "Object.defineProperty(navigator, 'gpu', { value: undefined });"
NO_DEVICE = "GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('the driver said no'); };"
SILENT_DEVICE = "GPUAdapter.prototype.requestDevice = () => neverAnswers();"
SMALL_CARD = "Object.defineProperty(GPUSupportedLimits.prototype, 'maxComputeWorkgroupStorageSize', { value: 1024 });"
OUT_OF_MEMORY = """
{
  const pop = GPUDevice.prototype.popErrorScope;
  GPUDevice.prototype.popErrorScope = async function () {
    await pop.call(this);
    return new GPUOutOfMemoryError("not enough memory left");
  };
}
"""
REFUSED = OUT_OF_MEMORY.replace("GPUOutOfMemoryError", "GPUValidationError").replace(
    "not enough memory left", "no such thing"
)
LOST = """
{
  const request = GPUAdapter.prototype.requestDevice;
  const destroy = GPUDevice.prototype.destroy;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await request.apply(this, args);
    setTimeout(() => destroy.call(device), 1);
    return device;
  };
}
"""
NO_MEMORY = """
const full = () => {
  throw new RangeError("WebAssembly.instantiate(): Out of memory: Cannot allocate Wasm memory for new instance");
};
WebAssembly.instantiate = async () => full();
WebAssembly.Instance = new Proxy(WebAssembly.Instance, { construct: full });
"""
NO_CACHE = "Object.defineProperty(globalThis, 'caches', { value: undefined });"
UNREADABLE_CACHE = "caches.open = async () => { throw new DOMException('the disk is broken', 'UnknownError'); };"
SILENT_CACHE = "caches.open = () => neverAnswers();"
SILENT_ENTRY = "Cache.prototype.match = () => neverAnswers();"
BROKEN_ENTRY = """
const broken = () => new Response(new ReadableStream({ start: (body) => body.error(new Error("gone")) }));
Cache.prototype.match = async () => broken();
"""
WRONG_ENTRY = "Cache.prototype.match = async () => new Response('something else');"
FULL_CACHE = "Cache.prototype.put = async () => { throw new DOMException('no room', 'QuotaExceededError'); };"
NO_STORAGE = """
const denied = () => { throw new DOMException("denied", "SecurityError"); };
Object.defineProperty(window, "localStorage", { get: denied });
"""
NO_CLIPBOARD = "navigator.clipboard.writeText = async () => { throw new DOMException('denied', 'NotAllowedError'); };"
NO_HISTORY = """
for (const name of ["pushState", "replaceState"]) {
  const real = history[name];
  history[name] = (state, ...rest) => {
    if (state !== null) throw new DOMException("too large", "DataCloneError");
    real.call(history, null, ...rest);
  };
}
"""


def silent(part: str) -> str:
    """A script: requests whose address has this part never bring anything."""
    return f"""
{{
  const real = globalThis.fetch;
  globalThis.fetch = (url, init) => (String(url).includes("{part}") ? neverAnswers() : real(url, init));
}}
"""


def fetching(answers: str) -> Act:
    """What the worker's requests for shards bring, one after another, instead of the server's answers."""
    return worker(
        f"""
{{
  const real = self.fetch;
  const answers = [{answers}];
  self.fetch = async (url, init) => {{
    const answer = String(url).endsWith(".bin") ? answers.shift() : undefined;
    return answer ? answer(await real(url, init)) : real(url, init);
  }};
}}
"""
    )


PART_THEN_SILENCE = """
async (response) => {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const parts = [{ done: false, value: bytes.slice(0, 1000) }];
  const read = async () => parts.shift() ?? (await neverAnswers());
  return { ok: true, status: 200, body: { getReader: () => ({ read, cancel: async () => {} }) } };
},
"""
PART_THEN_CUT = """
async (response) => {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const start = (body) => {
    body.enqueue(bytes.slice(0, 1000));
    setTimeout(() => body.error(new TypeError("network error")), 20);
  };
  return new Response(new ReadableStream({ start }));
},
"""


def blank(visit: Visit) -> None:
    """The page is opened although its script does not come; after a moment it says so."""
    visit.page.goto(visit.playground.url)
    expect(visit.page.locator("#starting")).to_be_visible()


def without_scripts(visit: Visit) -> None:
    """The page as a browser shows it that runs no scripts."""
    visit.context.new_cdp_session(visit.page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    visit.page.goto(visit.playground.url)


OUTSIDE = json.dumps(
    {
        "format": "recursivemas.systems",
        "version": 1,
        "systems": [{"name": "x", "description": "", "pattern": "", "path": "../x/system.json", "size_bytes": 1}],
    }
)


def deep_provenance(visit: Visit) -> str:
    """A manifest whose provenance, which may hold anything, is nested deeply."""
    text = visit.content("system.json").decode()
    return text.replace('"provenance": {', f'"provenance": {{"deep": {DEEP}, ', 1)


def huge_file(visit: Visit) -> None:
    """A shard is said to have a size that nothing can hold."""
    path = visit.path(SHARD)

    def change(data: dict[str, list[dict[str, Any]]]) -> None:
        (record,) = (each for each in data["files"] if each["path"] == path)
        record["size_bytes"] = 10**15

    visit.manifest(change)


def nan_links(data: dict[str, Any]) -> None:
    """A weight of a link is NaN."""
    tensor = data["inner"]["planner"]["tensors"]["w1"]
    content = bytearray(base64.b64decode(tensor["data"]))
    content[:4] = b"\0\0\xc0\x7f"
    tensor["data"] = base64.b64encode(content).decode()


def endless(visit: Visit) -> None:
    """Loading goes on until something else happens."""
    visit.stall(f"**/{SHARD}")
