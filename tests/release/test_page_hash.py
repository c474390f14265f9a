"""The page shows the sha256 of the manifest that it read: the one number that says which release this is."""

import hashlib
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from harness.playground import open_playground
from recursivemas.system.manifest import FileRecord

from .hosts import python_http_server

pytestmark = pytest.mark.browser

# A manifest alone: the page reads it before it asks for anything else.
MANIFEST = Path(__file__).parents[1] / "fixtures/formats-1/system.json"


def test_page_shows_the_hash_that_publish_prints(chromium: Browser, built: Path, tmp_path: Path) -> None:
    site = Path(shutil.copytree(built, tmp_path / "page"))
    (site / "walk").mkdir()
    shutil.copyfile(MANIFEST, site / "walk/system.json")
    digest = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()
    assert FileRecord.of(MANIFEST, MANIFEST.parent).sha256 == digest, "what publish prints and the model card says"
    with python_http_server(site) as origin, open_playground(chromium, f"{origin}/") as playground:
        playground.open(f"?system={origin}/walk/system.json")
        shown = playground.page.get_by_title("sha256 of system.json")
        assert f"manifest {digest[:12]}" in shown.inner_text()
        assert digest in (shown.get_attribute("title") or "")
