"""Hooks of MkDocs (mkdocs.yml): the pages that do not lie in docs/, their order, and the pages of the interfaces.

The README's list of documents gives the titles and the order; tests/release/test_docs.py checks that it is whole.
"""

import posixpath
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
INDEX, API, JAVASCRIPT_API = "index.md", "python-api.md", "javascript-api.md"
OUTSIDE = {"README.md": INDEX, "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
OUTSIDE |= {"CHANGELOG.md": "changelog.md"}
"""Pages outside docs/, and their names in the site; those of the examples keep theirs."""
EXAMPLES = "examples"
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
_sources = tempfile.TemporaryDirectory(prefix="rmas-docs-")


@event_priority(100)  # before mkdocstrings reads where its sources are
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Sets the order of the pages, the version, and where docstrings are read."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.site_name = f"{config.site_name} {project['version']}"
    config.nav = [
        {"Start": INDEX},
        *_documents(),
        {"Python, every name": API},
        {"JavaScript, every name": JAVASCRIPT_API},
        {"Examples": [each for each in _examples() if each.endswith(".md")]},
    ]
    merged = Path(_sources.name) / "recursivemas"
    for folder in project_sources():
        # Docstrings are read from one folder, where a wheel has its packages, too.
        shutil.copytree(folder, merged, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    handler = config.plugins["mkdocstrings"].config.handlers.setdefault("python", {})
    handler["paths"] = [str(merged.parent)]
    return config


def project_sources() -> list[Path]:
    """The source roots of the package."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    return [ROOT / each for each in hatch["build"]["targets"]["wheel"]["packages"]]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages outside docs/ and the pages made from docstrings and TSDoc."""
    for source, name in {**OUTSIDE, **{each: each for each in _examples()}}.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, API, content=_api()))
    files.append(File.generated(config, JAVASCRIPT_API, content=_javascript_api()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links between documents to their places in the site."""
    here = page.file.src_uri
    names = {name: source for source, name in OUTSIDE.items()}
    folder = (ROOT / here).parent if here.startswith(f"{EXAMPLES}/") else ROOT if here in names else ROOT / "docs"

    def target(match: re.Match[str]) -> str:
        path = (folder / match[1]).resolve()
        if not path.is_relative_to(ROOT):
            return match[1]
        inside = path.relative_to(ROOT).as_posix()
        if not inside.startswith(("docs/", f"{EXAMPLES}/")) and inside not in OUTSIDE:
            return match[1]
        return posixpath.relpath(OUTSIDE.get(inside, inside.removeprefix("docs/")), posixpath.dirname(here))

    return _LINK.sub(target, markdown)


def _examples() -> list[str]:
    """The pages of the examples, and the files that they lead to."""
    pages = sorted((ROOT / EXAMPLES).rglob("README.md"))
    linked = {(page.parent / target).resolve() for page in pages for target in _LINK.findall(page.read_text("utf-8"))}
    files = sorted(each for each in linked - set(pages) if each.is_file() and (ROOT / EXAMPLES) in each.parents)
    return [each.relative_to(ROOT).as_posix() for each in [*pages, *files]]


def _documents() -> list[Any]:
    """Title and page of each document in the README's list, and then those that it does not have yet."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Documents")[2].partition("\n## ")[0]
    pages = []
    for title, path in re.findall(r"\[([^\]]+)\]\(([^)#\s]+)\)", section):
        name = OUTSIDE.get(path, path.removeprefix("docs/"))
        pages.append({" ".join(title.split()): name})
    listed = {name for page in pages for name in page.values()}
    return [*pages, *(path.name for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in listed)]


def _api() -> str:
    """A page with every public name of `import recursivemas`, in the order of a user's work."""
    import recursivemas

    lines = ["# Python, every name", "", "[How to use them](python.md). Everything else is private.", ""]
    order = ["load", "train", "compile", "build", "LoadedSystem", "Answer", "Trace", "Turn", "Evaluation"]
    others = [name for name in recursivemas.__all__ if name not in order]
    for name in [*order, *others]:
        value = getattr(recursivemas, name)
        lines += [
            f"::: {value.__module__}.{value.__qualname__}",
            "    options:",
            f"      heading: recursivemas.{name}",
            "",
        ]
    return "\n".join(lines)


def _javascript_api() -> str:
    """A page with every public name of the npm package."""
    command = ["node", str(ROOT / "web/tools/api-page.mjs")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PluginError("the pages of the npm package need Node on the PATH; 'rmas doctor' says which") from None
    if done.returncode != 0:
        raise PluginError(f"web/tools/api-page.mjs failed; 'make setup' installs what it needs: {done.stderr[-500:]}")
    return done.stdout
