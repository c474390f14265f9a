"""What the playground says when something is wrong: plain words, a way out, inputs kept."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from harness.engine_page import launch, serving
from harness.playground import Playground, open_playground

pytestmark = pytest.mark.browser


@pytest.fixture
def copy(default_system: Path, tmp_path: Path) -> Path:
    """A copy of the default system, to be broken."""
    return Path(shutil.copytree(default_system, tmp_path / "hop-sequential"))


@pytest.fixture
def broken(browser: Browser, built: Path, copy: Path) -> Iterator[Playground]:
    with serving(built, copy) as url, open_playground(browser, url) as playground:
        yield playground
        assert playground.complaints == []


Change = Callable[[dict[str, Any]], None]


def change_manifest(folder: Path, change: Change) -> None:
    path = folder / "system.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_page_without_webgpu_says_so_and_what_to_do(built: Path, copy: Path) -> None:
    with (
        launch(flags=["--disable-gpu", "--disable-features=WebGPU"]) as plain,
        serving(built, copy) as url,
        open_playground(plain, url) as playground,
    ):
        playground.open()
        playground.button.click()
        expect(playground.page.locator(".problem h2")).to_have_text("This browser has no WebGPU")
        assert "Chrome" in playground.problem
        expect(playground.page.get_by_role("alert")).to_contain_text("WebGPU")
        expect(playground.page.locator(".graph svg")).to_be_visible()


def test_page_with_a_damaged_shard_says_so_and_goes_on_when_it_is_mended(built: Path, copy: Path) -> None:
    shard = next(copy.rglob("params_shard_*.bin"))
    good = shard.read_bytes()
    shard.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    # A browser of its own: it is left in the middle of compiling shaders, which would hold up the next test.
    with launch() as own, serving(built, copy) as url, open_playground(own, url) as playground:
        playground.open()
        playground.button.click()
        expect(playground.page.locator(".problem h2")).to_have_text("A file arrived damaged")
        playground.page.get_by_text("Technical details").click()
        assert shard.name in playground.problem
        shard.write_bytes(good)
        playground.page.get_by_role("button", name="Try again").click()
        # Either shows that every file passed; how long shaders compile is up to the machine.
        compiling = playground.page.locator(".load-head", has_text="Compiling")
        ready = playground.page.locator(".primary", has_text="Run")
        expect(compiling.or_(ready).first).to_be_visible()
        assert playground.problem == ""


def test_page_with_a_missing_file_says_so(broken: Playground, copy: Path) -> None:
    next(copy.rglob("tokenizer.json")).unlink()
    broken.open()
    broken.button.click()
    expect(broken.page.locator(".problem h2")).to_have_text("A file could not be downloaded")


def test_page_opens_a_system_by_its_name_and_says_which_names_there_are(broken: Playground) -> None:
    broken.open("?system=hop-sequential")
    expect(broken.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
    assert broken.problem == ""
    for asked in ("hop", "systems/hop/system.json"):
        broken.open(f"?system={asked}")
        expect(broken.page.locator(".problem h2")).to_have_text("There is no such system")
        assert f"looked for “{asked}”" in broken.problem
        assert "The list beside this page has hop-sequential." in broken.problem


def test_page_with_a_broken_manifest_says_so(broken: Playground, copy: Path) -> None:
    change_manifest(copy, lambda data: data.update(surprise=1))
    broken.open("?system=systems/hop-sequential/system.json")
    expect(broken.page.locator(".problem h2")).to_have_text("This system’s description cannot be read")
    broken.page.get_by_text("Technical details").click()
    assert "surprise" in broken.problem
    change_manifest(copy, lambda data: data.pop("surprise"))
    broken.page.get_by_role("button", name="Try again").click()
    expect(broken.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
    expect(broken.page.locator(".problem")).to_have_count(0)


@pytest.mark.parametrize(
    ("change", "title", "words"),
    [
        (
            {"required_features": ["shader-f16"]},
            "Your graphics card lacks a feature that this system needs",
            ("single precision", "shader-f16"),
        ),
        (
            {"required_limits": {"maxBufferSize": 1 << 50}},
            "This system is too large for your graphics card",
            ("smaller system", "maxBufferSize"),
        ),
    ],
    ids=["no shader-f16", "too little memory"],
)
def test_page_says_what_the_graphics_card_lacks_before_it_downloads(
    broken: Playground, copy: Path, change: dict[str, Any], title: str, words: tuple[str, str]
) -> None:
    change_manifest(copy, lambda data: data.update(change))
    broken.open("?n=7&rounds=2")
    broken.button.click()
    expect(broken.page.locator(".problem h2")).to_have_text(title)
    broken.page.get_by_text("Technical details").click()
    assert all(word in broken.problem for word in words)
    assert not [each for each in broken.requests if each.endswith((".bin", ".wasm"))]
    assert "n=7" in broken.page.url
    expect(broken.page.get_by_label("Rounds", exact=True)).to_have_value("2")
    broken.page.get_by_role("button", name="Choose another system").click()
    expect(broken.page.get_by_role("heading", name="Choose a system")).to_be_visible()


OUT_OF_MEMORY = """
{
  const pop = GPUDevice.prototype.popErrorScope;
  GPUDevice.prototype.popErrorScope = async function () {
    await pop.call(this);
    return new GPUOutOfMemoryError("not enough memory left");
  };
}
"""


def test_page_says_that_memory_ran_out_and_loads_again(browser: Browser, built: Path, default_system: Path) -> None:
    with (
        serving(built, default_system) as url,
        open_playground(browser, url, inject=OUT_OF_MEMORY) as playground,
    ):
        playground.open()
        playground.button.click()
        expect(playground.page.locator(".problem h2")).to_have_text("The graphics card ran out of memory")
        assert "Close other tabs" in playground.problem
        # Other tabs were closed.
        playground.page.context.unroute("**/assets/worker-*.js")
        playground.page.get_by_role("button", name="Load the agents again").click()
        expect(playground.button).to_contain_text("Run")
        expect(playground.page.locator(".problem")).to_have_count(0)


def test_page_shows_text_from_outside_as_text(broken: Playground, copy: Path) -> None:
    markup = "<img src=x onerror=alert(1)><b>bold</b>"

    def change(data: dict[str, Any]) -> None:
        data["description"] = markup
        data["agents"][0]["architecture"] = markup

    change_manifest(copy, change)
    broken.open()
    expect(broken.page.locator(".system-about")).to_have_text(markup)
    assert broken.page.locator("main img, main b:text-is('bold')").count() == 0


def test_page_opens_a_system_by_its_address(browser: Browser, built: Path, copy: Path) -> None:
    with (
        serving(built, copy) as url,
        serving(built, copy) as elsewhere,
        open_playground(browser, url) as playground,
    ):
        playground.page.route("**/systems/index.json", lambda route: route.fulfill(status=404, body="none"))
        playground.open()
        expect(playground.page.locator(".problem h2")).to_have_text("There is no list of systems beside this page")
        playground.page.get_by_role("button", name="Choose another system").click()
        playground.page.get_by_label("Or the address of a system.json").fill(
            f"{elsewhere}systems/hop-sequential/system.json"
        )
        playground.page.get_by_role("button", name="Open", exact=True).click()
        expect(playground.page.get_by_role("heading", name="hop-sequential")).to_be_visible()
        playground.query("system=http")
        expect(playground.button).to_contain_text("Load the agents")


def test_page_loading_can_be_cancelled(browser: Browser, built: Path, copy: Path) -> None:
    with serving(built, copy) as url, open_playground(browser, url) as playground:
        # One shard never comes, so that loading cannot be over before it is cancelled.
        playground.page.route("**/params_shard_*.bin", lambda route: None)
        playground.open()
        with playground.page.expect_request("**/params_shard_*.bin"):
            playground.button.click()
        expect(playground.button).to_contain_text("Cancel")
        playground.button.click()
        expect(playground.button).to_contain_text("Load the agents")
        assert playground.problem == ""


LOSE_DEVICE = """
{
  const request = GPUAdapter.prototype.requestDevice;
  const devices = [];
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await request.apply(this, args);
    devices.push(device);
    return device;
  };
  new BroadcastChannel("lose").onmessage = () => {
    for (const device of devices) GPUDevice.prototype.destroy.call(device);
  };
}
"""


def test_page_survives_a_lost_device_without_a_reload(browser: Browser, built: Path, default_system: Path) -> None:
    with (
        serving(built, default_system) as url,
        open_playground(browser, url, inject=LOSE_DEVICE) as playground,
    ):
        playground.open()
        playground.load()
        playground.ask(9)
        playground.page.get_by_label("Rounds", exact=True).fill("2")
        playground.page.get_by_label("Rounds", exact=True).press("Enter")
        playground.button.click()
        playground.page.wait_for_selector(".note.full")
        playground.page.evaluate("() => new BroadcastChannel('lose').postMessage(1)")
        expect(playground.page.locator(".problem h2")).to_have_text("The browser lost the graphics card")
        playground.page.get_by_role("button", name="Load the agents again and go on").click()
        # The run that was broken off goes on by itself.
        expect(playground.page.locator(".answer .verdict", has_text=re.compile("^(right|wrong)"))).to_be_visible()
        expect(playground.page.locator(".problem")).to_have_count(0)
        expect(playground.page.get_by_label("Choose a question")).to_have_value("9")
        expect(playground.page.get_by_label("Rounds", exact=True)).to_have_value("2")
        assert playground.answer not in ("", "–")
        assert playground.complaints == []


REGISTERED_LATE = """{
    const container = navigator.serviceWorker;
    const register = container.register.bind(container);
    container.register = async (...values) => {
        const registration = await register(...values);
        if (!container.controller) await new Promise((done) => container.addEventListener("controllerchange", done));
        return registration;
    };
}"""
"""The page learns that its service worker is registered only when that already controls it, as on a busy machine."""


def test_page_works_without_a_network_on_the_second_visit(browser: Browser, built: Path, default_system: Path) -> None:
    with (
        serving(built, default_system) as url,
        open_playground(browser, url, service_workers="allow") as playground,
    ):
        playground.page.add_init_script(REGISTERED_LATE)
        # The system's description is asked for before the service worker takes over, and arrives after that.
        waiting: list[Route] = []
        playground.page.route("**/system.json", lambda route: waiting.append(route))
        playground.page.goto(url)
        playground.page.wait_for_function("() => navigator.serviceWorker.controller !== null")
        waiting.pop().continue_()
        playground.page.unroute("**/system.json")
        playground.load()
        playground.run()
        answer = playground.answer
        playground.page.context.set_offline(True)
        playground.page.goto(url)
        expect(playground.button).to_contain_text("Run")
        playground.run()
        assert playground.answer == answer
        assert playground.complaints == []
