"""The documentation of every release beside that of the work tree: `python scripts/docs_versions.py OUT`.

Each lies in a folder of its own: `main`, and one per tag without its `v`. `versions.json` lists them as mike does,
which is what the theme's menu of versions reads, and `index.html` leads to the newest release. A tag from before the
site had a configuration is left out. The deploy workflow (pages.yml) runs this, and
tests/release/test_docs_versions.py rehearses it.
"""

import html
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

WORK_TREE = "main"
CONFIGURATION = "mkdocs.yml"


def main() -> None:
    """Builds every version."""
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/docs_versions.py OUT")
    build_versions(Path.cwd(), Path(sys.argv[1]).resolve())


def build_versions(root: Path, out: Path) -> list[str]:
    """Builds the documentation of the work tree at `root` and of its tags into folders of `out`.

    Returns:
        The folders' names, the work tree's first and then the releases, the newest first.
    """
    build(root, out / WORK_TREE, strict=True)
    releases = []
    for version, tag in sorted(tags(root), reverse=True):
        if git(root, "ls-tree", "--name-only", tag, CONFIGURATION) == "":
            print(f"{tag}: has no {CONFIGURATION}, left out")
            continue
        with tempfile.TemporaryDirectory(prefix="rmas-docs-") as place:
            tree = Path(place) / "tree"
            git(root, "worktree", "add", "--detach", str(tree), tag)
            try:
                # What the pages are made with; a release's own packages would be another installation.
                modules = root / "web/node_modules"
                if modules.is_dir() and (tree / "web").is_dir():
                    (tree / "web/node_modules").symlink_to(modules.resolve())
                # The releases of a library that makes the pages may warn of more than they did then.
                build(tree, out / str(version), strict=False)
            finally:
                git(root, "worktree", "remove", "--force", str(tree))
        releases.append(str(version))
    listed = [WORK_TREE, *releases]
    records = [
        {"version": name, "title": name, "aliases": ["latest"] if releases[:1] == [name] else []} for name in listed
    ]
    (out / "versions.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    newest = html.escape((releases or listed)[0])
    (out / "index.html").write_text(
        f'<!doctype html>\n<meta charset="utf-8">\n<title>Documentation</title>\n'
        f'<meta http-equiv="refresh" content="0; url={newest}/index.html">\n'
        f'<a href="{newest}/index.html">Documentation</a>\n',
        encoding="utf-8",
    )
    return listed


def tags(root: Path) -> list[tuple[Version, str]]:
    """The tags that name a release, such as `v0.1.0`."""
    found = []
    for tag in git(root, "tag", "--list", "v*").split():
        try:
            found.append((Version(tag.removeprefix("v")), tag))
        except InvalidVersion:
            print(f"{tag}: names no version, left out")
    return found


def build(tree: Path, out: Path, *, strict: bool) -> None:
    """Builds the documentation of a source tree, with that tree's package in front of the installed one."""
    # Not quietly: mkdocs then counts no warnings, and --strict lets everything pass.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out), *(["--strict"] * strict)]
    sources = [str(tree / Path(each).parent) for each in packages(tree)]
    path = os.pathsep.join([*sources, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment: Mapping[str, str] = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = [line for line in lines if line.startswith(("WARNING", "ERROR"))] or lines[-1:]
        sys.exit(f"the documentation of {out.name} could not be built: {' '.join(said) or 'mkdocs says nothing'}")


def packages(tree: Path) -> list[str]:
    """The source roots of a tree, as its wheel has them."""
    path = tree / "pyproject.toml"
    if not path.is_file():
        return []
    tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    found: list[str] = tool.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {}).get("packages", [])
    return found


def git(root: Path, *command: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"git {' '.join(command[:2])} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
