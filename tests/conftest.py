"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser_harness.libraries import launch


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium whose WebGPU runs on the CPU; one for the whole session."""
    with launch() as browser:
        yield browser
