"""The engine as a package: packed, put into a tiny project of another kind, built, and run in Chromium."""

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.chromium import new_context
from harness.engine_page import WEB, serving
from recursivemas.system.questions import load_questions
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

DOCS = WEB.parent / "docs/engine.md"
INDEX = '<!doctype html><html lang="en"><output></output><script type="module" src="./main.ts"></script></html>'
TSCONFIG = {
    "compilerOptions": {
        "target": "ES2023",
        "lib": ["ES2023", "DOM"],
        "strict": True,
        "noEmit": True,
        "skipLibCheck": False,
        "types": [],
    },
    "include": ["main.ts"],
}


def in_web(*command: str, folder: Path = WEB) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose only code is the example of docs/engine.md, with the packed engine installed."""
    project = tmp_path_factory.mktemp("consumer")
    in_web("npm", "run", "--silent", "build:lib")
    packed = json.loads(in_web("npm", "pack", "./lib", "--json", "--pack-destination", str(project)))
    modules = project / "node_modules"
    modules.mkdir()
    with tarfile.open(project / packed[0]["filename"]) as tarball:
        tarball.extractall(modules, filter="data")
    (modules / "package").rename(modules / "recursivemas")
    example = re.search(r"```ts\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    (project / "main.ts").write_text(example[1], encoding="utf-8")
    (project / "index.html").write_text(INDEX, encoding="utf-8")
    (project / "package.json").write_text('{"type": "module", "private": true}', encoding="utf-8")
    return project


def test_package_example_is_short(consumer: Path) -> None:
    assert len((consumer / "main.ts").read_text(encoding="utf-8").splitlines()) <= 20


@pytest.mark.parametrize(("module", "resolution"), [("ESNext", "bundler"), ("NodeNext", "NodeNext")])
def test_package_types_check_in_a_strict_project(consumer: Path, module: str, resolution: str) -> None:
    options = TSCONFIG["compilerOptions"] | {"module": module, "moduleResolution": resolution}  # type: ignore[operator]
    (consumer / "tsconfig.json").write_text(json.dumps(TSCONFIG | {"compilerOptions": options}), encoding="utf-8")
    in_web(str(WEB / "node_modules/.bin/tsc"), "-p", str(consumer))
    (consumer / "wrong.ts").write_text('import { loadSystem } from "recursivemas"; loadSystem(1);', encoding="utf-8")
    wrong = json.dumps(TSCONFIG | {"compilerOptions": options, "include": ["wrong.ts"]})
    (consumer / "tsconfig.json").write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match="not assignable"):
        in_web(str(WEB / "node_modules/.bin/tsc"), "-p", str(consumer))


def test_package_answers_in_a_page_of_another_project(
    consumer: Path, browser: Browser, default_system: Path, systems_folder: Path, reference: Recursion
) -> None:
    in_web(str(WEB / "node_modules/.bin/vite"), "build", "--base", "./", "--logLevel", "warn", folder=consumer)
    assert reference.system.task is not None and reference.system.task.data is not None
    question = load_questions(reference.system.task.data)[0].question
    expected = reference.run([question], rounds=3).texts[0]
    with serving(consumer / "dist", systems_folder) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(url)
        expect(page.locator("output")).to_have_text(f"{expected} after 18 latent steps")
        context.close()
