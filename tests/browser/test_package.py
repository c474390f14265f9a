"""The engine as a package: packed, put into a tiny project of another kind, built, and run in Chromium."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.chromium import new_context
from harness.engine_package import in_folder, install_engine
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


@pytest.fixture(scope="module")
def consumer(engine_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose only code is the example of docs/engine.md, with the packed engine installed."""
    project = tmp_path_factory.mktemp("consumer")
    (project / "package.json").write_text('{"type": "module", "private": true}', encoding="utf-8")
    install_engine(engine_package, project)
    example = re.search(r"```ts\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    (project / "main.ts").write_text(example[1], encoding="utf-8")
    (project / "index.html").write_text(INDEX, encoding="utf-8")
    return project


def test_package_says_what_it_is_and_has_nothing_else(engine_package: Path, consumer: Path) -> None:
    folder = consumer / "node_modules/recursivemas"
    manifest = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    assert manifest["license"] == "Apache-2.0"
    assert "dependencies" not in manifest
    entries = [each if isinstance(each, dict) else {"file": each} for each in manifest["exports"].values()]
    assert all((folder / path).is_file() for entry in entries for path in entry.values())
    others = {path.name for path in folder.iterdir()} - {"types"}
    assert others == {"package.json", "README.md", "LICENSE", "recursivemas.js", "worker.js", "node.js"}
    assert engine_package.stat().st_size < 300_000


def test_package_example_is_short(consumer: Path) -> None:
    assert len((consumer / "main.ts").read_text(encoding="utf-8").splitlines()) <= 20


@pytest.mark.parametrize(("module", "resolution"), [("ESNext", "bundler"), ("NodeNext", "NodeNext")])
def test_package_types_check_in_a_strict_project(consumer: Path, module: str, resolution: str) -> None:
    options = TSCONFIG["compilerOptions"] | {"module": module, "moduleResolution": resolution}  # type: ignore[operator]
    (consumer / "tsconfig.json").write_text(json.dumps(TSCONFIG | {"compilerOptions": options}), encoding="utf-8")
    in_folder(str(WEB / "node_modules/.bin/tsc"), "-p", str(consumer))
    (consumer / "wrong.ts").write_text('import { loadSystem } from "recursivemas"; loadSystem(1);', encoding="utf-8")
    wrong = json.dumps(TSCONFIG | {"compilerOptions": options, "include": ["wrong.ts"]})
    (consumer / "tsconfig.json").write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match="not assignable"):
        in_folder(str(WEB / "node_modules/.bin/tsc"), "-p", str(consumer))


def test_package_answers_in_a_page_of_another_project(
    consumer: Path, browser: Browser, default_system: Path, systems_folder: Path, reference: Recursion
) -> None:
    in_folder(str(WEB / "node_modules/.bin/vite"), "build", "--base", "./", "--logLevel", "warn", folder=consumer)
    assert reference.system.task is not None and reference.system.task.data is not None
    question = load_questions(reference.system.task.data)[0].question
    expected = reference.run([question], rounds=3).texts[0]
    with serving(consumer / "dist", systems_folder) as url:
        context = new_context(browser)
        page = context.new_page()
        page.goto(url)
        expect(page.locator("output")).to_have_text(f"{expected} after 18 latent steps")
        context.close()
