"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from harness.libraries import launch


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that drive a browser share one worker of `make test`: software WebGPU keeps processors busy by itself."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium whose WebGPU runs on the CPU; one for the whole session."""
    with launch() as browser:
        yield browser
