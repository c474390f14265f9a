"""The notebook, cell by cell on a CPU with two tiny agents; and the card of a Space."""

import ast
import json
import os
import re
import shutil
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import RepoCard
from packaging.requirements import Requirement

import recursivemas as rm
from recursivemas.compiler.page_tokenizer import minimum_node
from recursivemas.compiler.runtime.toolchain import MINIMUM
from recursivemas.release.site import assemble_site
from recursivemas.system.manifest import load_manifest
from recursivemas.system.system import System
from tests.release.environments import copy_web
from tests.release.made_system import make_system

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/notebook/two-checkpoints.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def tagged(cell: dict[str, Any], tag: str) -> bool:
    return tag in cell["metadata"].get("tags", [])


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell; returns the value of its last line if that is an expression, which a notebook would show."""
    tree = ast.parse(source)
    names.pop("_shown", None)
    if isinstance(last := tree.body[-1], ast.Expr):
        assigned = ast.Assign([ast.Name("_shown", ast.Store())], last.value)
        tree.body[-1] = ast.fix_missing_locations(ast.copy_location(assigned, last))
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return names.get("_shown")


def tiny_system() -> dict[str, Any]:
    """The declared system with two tiny agents and little training."""
    declared: dict[str, Any] = yaml.safe_load((ROOT / "systems/hop-distillation.yaml").read_text(encoding="utf-8"))
    for agent in declared["agents"]:
        agent["model"] = str(ROOT / "systems" / agent["model"])
    declared["training"] = {
        "inner": {"questions": 256, "steps": 60, "batch_size": 256},
        "outer": {"alignment_steps": 40, "steps": 2, "batch_size": 8},
    }
    declared["task"] = {"name": "hop"}
    return declared


def test_notebook_has_no_outputs_and_a_system_that_is_valid() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert [tagged(cell, "install") for cell in code] == [True] + [False] * (len(code) - 1)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    (parameters,) = (cell for cell in code if tagged(cell, "parameters"))
    names: dict[str, Any] = {}
    run_cell("".join(parameters["source"]), names)
    system = System.parse(names["SYSTEM"], "the notebook")
    assert [agent.id for agent in system.agents] == ["planner", "solver"]


def installation() -> tuple[dict[str, Any], str]:
    """The variables that the installing cell sets, and its lines for IPython."""
    lines = "".join(CELLS[1]["source"]).splitlines()
    magic = [line for line in lines if line.startswith(("%", "!"))]
    names: dict[str, Any] = {}
    plain = [line for line in lines if line not in magic and "os.environ" not in line]
    exec("\n".join(plain), names)
    return names, "\n".join(magic)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_notebook_installs_what_the_compiler_needs() -> None:
    names, magic = installation()
    assert numbers(names["EMSCRIPTEN"]) >= MINIMUM
    assert numbers(names["NODE"]) >= minimum_node()
    known = re.findall(r"^ +version=(\S+)$", (ROOT / ".github/other-systems.sh").read_text(), re.MULTILINE)
    assert known == [names["EMSCRIPTEN"]], "the version that the weekly test on Windows installs"
    used = re.findall(r"\{(\w+)\}", magic)
    assert set(used) == {"PACKAGE", "NODE", "EMSCRIPTEN"} and all(each in names for each in used)
    requirement = Requirement(names["PACKAGE"])
    assert (requirement.name, requirement.url) == ("recursivemas", f"git+{names['REPOSITORY']}")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert requirement.extras <= set(extras)


def prepared_clone(folder: Path) -> None:
    """A clone whose npm packages are installed, so that making the page downloads nothing."""
    folder.mkdir()
    shutil.copy2(ROOT / "Makefile", folder)
    copy_web(folder / "web")
    for name in ("scripts", "systems"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "web/node_modules").mkdir()
    for path in (ROOT / "web/node_modules").iterdir():
        (folder / "web/node_modules" / path.name).symlink_to(path)
    (folder / "web/node_modules/.installed").unlink()
    (folder / ".cache").mkdir()
    (folder / ".cache/system-packages").touch()
    (folder / "web/node_modules/.installed").touch()


@pytest.mark.slow
def test_notebook_runs_from_checkpoints_to_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}")
    prepared_clone(tmp_path / "source")
    names: dict[str, Any] = {}
    shown: list[Any] = []
    for cell in CELLS:
        if cell["cell_type"] != "code" or tagged(cell, "install"):
            continue
        shown.append(run_cell("".join(cell["source"]), names))
        if tagged(cell, "parameters"):
            given = {"SYSTEM": tiny_system(), "TRAIN": "generator:hop-pair", "QUESTIONS": 24}
            names |= {**given, "TEST": str(ROOT / "systems/data/hop-pair-test.jsonl")}
    answer, evaluation = (next(each for each in shown if isinstance(each, kind)) for kind in (rm.Answer, rm.Evaluation))
    assert answer.trace._repr_html_().count("<svg") >= 3
    assert {cell.mode for cell in evaluation.cells} == {"latent", "text", "single"}
    site = tmp_path / "runs/notebook/site"
    manifest = load_manifest(site / "systems/hop-distillation/system.json")
    assert manifest.provenance["measured"]
    page = (site / "index.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "source/web/dist/index.html").read_text(encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "runs/notebook/site.zip") as archive:
        assert {"index.html", "systems/hop-distillation/system.json"} <= set(archive.namelist())


def test_space_has_a_card_that_names_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>page</title>", encoding="utf-8")
    make_system(tmp_path / "dist/walk")
    out = tmp_path / "space"
    for _ in range(2):  # the card stays when the site is made anew
        assemble_site(page, [tmp_path / "dist"], out)
        if not (out / "README.md").exists():
            (out / "README.md").write_bytes((ROOT / "examples/space/card.md").read_bytes())
    card = RepoCard.load(out / "README.md", ignore_metadata_errors=False)
    assert card.data.get("sdk") == "static"
    assert (out / card.data.get("app_file")).is_file()
    assert len(card.data.get("short_description")) <= 60
