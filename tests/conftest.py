"""Fixtures that several folders of tests share, and the order in which `make test` hands files to its workers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser

from harness.libraries import launch

# Whole files go to workers, so the longest come first and the short ones fill the gaps at the end. A file that is
# missing here is only scheduled less well.
LONGEST_FIRST = (
    "test_engine.py",
    "test_page.py",
    "test_config.py",
    "test_chat_template.py",
    "test_models.py",
    "test_patterns.py",
    "test_page_failures.py",
    "test_page_bring.py",
    "test_library.py",
    "test_train.py",
    "test_docs.py",
    "test_webllm.py",
    "test_hosting.py",
    "test_engine_failures.py",
    "test_variants.py",
    "test_agent_folder.py",
    "test_package.py",
    "test_links.py",
    "test_accuracy.py",
)

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; within a file and among all others the order stays."""
    rank = {name: index for index, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all workers of a run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def once(run_folder: Path) -> Once:
    """Makes a folder once in a run: the worker that asks first makes it, the others wait for it."""

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = run_folder / name, run_folder / f"{name}.made"
        with FileLock(run_folder / f"{name}.lock"):
            if not made.exists():
                make(folder)
                made.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium whose WebGPU runs on the CPU; one for each worker."""
    with launch() as browser:
        yield browser


@pytest.fixture(scope="session")
def browser(chromium: Browser) -> Browser:
    """The same browser by a shorter name."""
    return chromium


@pytest.fixture(scope="session")
def built(once: Once) -> Path:
    """The page that ships, built. Tests that change it copy it first."""
    from harness.playground import build_page

    return once("page", build_page)


@pytest.fixture(scope="session")
def harness(once: Once) -> Path:
    """The page that drives the engine for tests, built."""
    from harness.engine_page import build_harness

    return once("harness", build_harness)
