"""The examples for pages, React, workers, extensions and Node, as their READMEs have people set them up."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from harness.chromium import CHROMIUM, PATIENCE_MS, QUIET_FLAGS, WEBGPU_FLAGS, new_context
from harness.engine_package import in_folder, install_engine
from harness.engine_page import WEB
from harness.node import software_gpu
from harness.server import serve
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EXAMPLES = WEB.parent / "examples"

SetUp = Callable[[str], Path]


@pytest.fixture
def set_up(engine_package: Path, default_system: Path, tmp_path: Path) -> SetUp:
    """Copies an example, and puts the engine and the default system beside it."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder)
        (tmp_path / "installed").mkdir()
        (tmp_path / "installed/package.json").write_text("{}", encoding="utf-8")
        engine = install_engine(engine_package, tmp_path / "installed")
        shutil.copytree(engine, folder / "recursivemas")
        (folder / "systems").mkdir()
        (folder / "systems/hop-sequential").symlink_to(default_system)
        return folder

    return copy


@pytest.fixture(scope="module")
def first(reference: Recursion) -> tuple[str, str]:
    """The first question, and what PyTorch answers."""
    return answers(reference, 1)[0]


def answers(reference: Recursion, count: int) -> list[tuple[str, str]]:
    assert reference.system.task is not None and reference.system.task.data is not None
    asked = [each.question for each in load_questions(reference.system.task.data)[:count]]
    return [(each, reference.run([each], rounds=3).texts[0]) for each in asked]


def ask(page: Page) -> None:
    expect(page.get_by_role("button", name="Ask")).to_be_enabled()
    page.get_by_role("button", name="Ask").click()


def test_plain_page_answers(browser: Browser, set_up: SetUp, first: tuple[str, str]) -> None:
    with serve({"/": set_up("web-page")}) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(f"{url}/index.html")
        ask(page)
        expect(page.locator("output")).to_have_text(f"Answer: {first[1]}")
        context.close()


def test_react_component_answers(browser: Browser, set_up: SetUp, first: tuple[str, str]) -> None:
    folder = set_up("web-react")
    modules = folder / "node_modules"
    modules.mkdir()
    shutil.move(folder / "recursivemas", modules / "recursivemas")
    for name in ("react", "react-dom", "scheduler", "vite"):
        (modules / name).symlink_to(WEB / "node_modules" / name)
    in_folder(str(WEB / "node_modules/.bin/vite"), "build", "--logLevel", "warn", folder=folder)
    with serve({"/": folder / "dist", "/systems": folder / "systems"}) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(f"{url}/index.html")
        ask(page)
        expect(page.locator("output")).to_have_text(f"Answer: {first[1]}")
        context.close()


def test_worker_of_ones_own_answers(browser: Browser, set_up: SetUp, reference: Recursion) -> None:
    with serve({"/": set_up("web-worker")}) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(f"{url}/index.html")
        expect(page.locator("output")).to_have_text("Done; the GPU is free again.")
        shown = page.locator("li").all_inner_texts()
        assert shown == [f"{question}: {answer}" for question, answer in answers(reference, 2)]
        context.close()


def test_chat_shows_thoughts_and_the_answer(browser: Browser, set_up: SetUp, first: tuple[str, str]) -> None:
    with serve({"/": set_up("web-chat")}) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(f"{url}/index.html")
        ask(page)
        expect(page.locator(".answer")).to_have_text(first[1])
        expect(page.get_by_role("button", name="Ask")).to_be_enabled()
        assert page.locator(".turn b").all_inner_texts()[:3] == ["planner 1", "critic 1", "solver 1"]
        # Two thoughts in each of the nine turns.
        assert page.locator(".thought").count() == 18
        assert re.match(r".+ \d+ %, ", page.locator(".thought").first.get_attribute("title") or "")
        context.close()


def test_extension_page_answers_without_any_permission(
    browser: Browser, set_up: SetUp, first: tuple[str, str], tmp_path: Path
) -> None:
    folder = set_up("extension")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert not {"permissions", "host_permissions"} & manifest.keys()
    # Extensions need a browser with a profile of its own; files of one may not be links that lead out of it.
    system = folder / "systems/hop-sequential"
    target = system.resolve()
    system.unlink()
    shutil.copytree(target, system)
    flags = [*QUIET_FLAGS, *WEBGPU_FLAGS, f"--disable-extensions-except={folder}", f"--load-extension={folder}"]
    context = browser.browser_type.launch_persistent_context(
        tmp_path / "profile",
        executable_path=CHROMIUM,
        args=flags,
        ignore_default_args=["--disable-extensions"],
        timeout=PATIENCE_MS,
    )
    try:
        context.set_default_timeout(PATIENCE_MS)
        worker = context.service_workers[0] if context.service_workers else context.wait_for_event("serviceworker")
        page = context.new_page()
        page.goto(worker.url.replace("background.js", "page.html"))
        ask(page)
        expect(page.locator("output")).to_have_text(f"Answer: {first[1]}")
    finally:
        context.close()


def test_node_answers(set_up: SetUp, default_system: Path, first: tuple[str, str]) -> None:
    folder = set_up("node")
    modules = folder / "node_modules"
    modules.mkdir()
    shutil.move(folder / "recursivemas", modules / "recursivemas")
    (modules / "webgpu").symlink_to(WEB / "node_modules/webgpu")
    driver = software_gpu()
    done = subprocess.run(
        ["node", "ask.mjs", str(default_system)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_MS / 1000,
        env=os.environ | driver,
    )
    if "no-webgpu" in done.stderr and not driver:
        pytest.skip("Node finds no WebGPU adapter here, and Chromium brings none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [f"question: {first[0]}", f"answer:   {first[1]}"]
