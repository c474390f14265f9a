"""The documentation as a site: it builds without a warning, no link is broken, and nothing comes from another host."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

import recursivemas

ROOT = Path(__file__).parents[2]
MKDOCS = ROOT / ".venv/bin/mkdocs"
pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page leads to or loads, and what can be led to in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append((tag, value))
            if name in ("id", "name") and value:
                self.names.add(value)


def build(out: Path, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [str(MKDOCS), "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    done = build(out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_document_is_a_page_in_the_list_of_pages(site: Path, pages: dict[Path, Links]) -> None:
    listed = {target for _, target in pages[site / "index.html"].targets}
    for path in (ROOT / "docs").glob("*.md"):
        assert (site / f"{path.stem}.html").is_file() and f"{path.stem}.html" in listed, path.name
    for name in ("contributing", "security", "changelog", "python-api", "javascript-api"):
        assert f"{name}.html" in listed


def test_no_link_within_the_site_is_broken(site: Path, pages: dict[Path, Links]) -> None:
    broken = []
    for page, links in pages.items():
        for _, target in links.targets:
            address, anchor = urldefrag(target)
            if urlparse(address).scheme or page.name == "404.html":
                continue
            place = (page.parent / unquote(address)).resolve() if address else page
            place = place / "index.html" if place.is_dir() else place
            if not place.is_file() or (anchor and place in pages and unquote(anchor) not in pages[place].names):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Links]) -> None:
    for page, links in pages.items():
        loaded = [
            target for tag, target in links.targets if tag != "a" and urlparse(target).scheme in ("http", "https")
        ]
        assert [each for each in loaded if "canonical" not in each] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text(encoding="utf-8")), sheet


def test_every_public_name_is_documented_with_its_arguments(site: Path) -> None:
    text = (site / "python-api.html").read_text(encoding="utf-8")
    for name in recursivemas.__all__:
        assert f"recursivemas.{name}" in text, name
    assert text.count("<code>latent_steps</code>") >= 3


def test_every_name_of_the_npm_package_is_documented(site: Path, pages: dict[Path, Links]) -> None:
    page = site / "javascript-api.html"
    text = page.read_text(encoding="utf-8")
    exported = set()
    for entry in ("api", "node"):
        source = (ROOT / f"web/src/engine/{entry}.ts").read_text(encoding="utf-8")
        exported |= set(re.findall(r"^export (?:async )?(?:function|interface|class|const|type) (\w+)", source, re.M))
        for block in re.findall(r"^export \{([^}]*)\}", source, re.M):
            exported |= {each.split()[-1] for each in re.sub(r"\btype ", "", block).split(",") if each.strip()}
    assert {"loadSystem", "processorProblem", "inThisProcess"} <= exported
    assert {name.lower() for name in exported} - pages[page].names == set()
    # Descriptions, parameters and members come from TSDoc.
    assert "Downloads, verifies and loads a built system" in text and "Frees all GPU memory" in text
    assert "<code>url</code>" in text and "<code>oneByOne?: boolean</code>" in text


def test_search_finds_the_words_of_documents(site: Path) -> None:
    found = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    assert any("latent thoughts" in each["text"] and each["location"].startswith("recursion.html") for each in found)


def test_broken_link_stops_the_build(tmp_path: Path) -> None:
    for name in ("docs", "core", "training", "build", "patches", "cli", "scripts", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("evidence", "__pycache__"))
    (tmp_path / "web").symlink_to(ROOT / "web")
    for name in ("mkdocs.yml", "pyproject.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "docs/hosting.md").open("a", encoding="utf-8") as file:
        file.write("\n[nowhere](no-such-page.md)\n")
    done = build(tmp_path / "out", tmp_path)
    assert done.returncode != 0 and "no-such-page.md" in done.stderr
