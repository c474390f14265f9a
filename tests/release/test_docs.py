"""The documents: their commands run, their links lead somewhere, their tables are true."""

import itertools
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
import typer

from recursivemas.cli.app import app
from recursivemas.release.release_assets import pack_assets
from recursivemas.release.release_folder import check_release_folder
from recursivemas.system.links_file import load_links
from recursivemas.system.manifest import Manifest
from recursivemas.system.system import load_system
from recursivemas.training.link_formats import RELEASED_NAMES

from .made_system import make_system

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").rglob("README.md"))
PAGES = [*DOCUMENTS, *EXAMPLES]
BLOCK = re.compile(r"^```(console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    """For a test's title."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, kind: str) -> list[str]:
    """Fenced blocks of a kind."""
    return [text for found, text in BLOCK.findall(path.read_text(encoding="utf-8")) if found == kind]


def commands(path: Path) -> list[str]:
    """Commands of the `console` blocks: lines that begin with a dollar sign, in order."""
    lines = "\n".join(blocks(path, "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def files(path: Path) -> dict[str, str]:
    """Files that a document tells to write: blocks whose first line is a comment with the file's name."""
    found = re.findall(
        r"^```\w+\n(# (\S+/\S+\.\w+)\n.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return {name: text for text, name in found}


SHELL_BLOCKS = [text for path in PAGES for kind in ("bash", "sh") for text in blocks(path, kind)]

RUN = ("sha256sum --check", "gh attestation verify", "rmas links convert downloads")
"""Words of the shell blocks that are run below, each after what it expects has been put into a folder."""

NOT_RUN = {
    "npm pack ./lib": "half a minute of building; tests/browser/test_package.py packs, installs and runs the package",
    "make site": "minutes of building, then a server that stays; test_hosting.py makes a site and serves it",
    "rmas import-release": "needs the authors' repository and gigabytes of the Hub; test_import_release.py and "
    "test_released*.py run each command on stand-ins",
    "accelerate launch --multi_gpu": "needs several GPUs; test_distributed.py and test_processes.py start two",
    "torchrun --nnodes": "needs several hosts; the same tests start two processes",
    "HF_TOKEN=…": "sends to the Hub and to GitHub; test_hub_upload.py and test_github_release.py do so to stand-ins",
    "hf upload": "sends to the Hub; test_notebook.py makes the folder, and hf is asked below about the options",
    "python examples/custom-pattern/run.py": "minutes of training; test_examples.py runs it with less",
    "examples/custom-tool/run.py": "downloads two models; test_examples.py runs both programs, with tiny models",
    "examples/langgraph/run.py": "installs a package, which the development tools have; test_examples.py runs the rest",
    "examples/own-agents/make.py": "a minute of training; test_examples.py runs it",
    "cp -r ../../web/lib recursivemas": "test_web_examples.py puts the same files there and opens the pages",
    "npm install && npm install ../../web/lib": "downloads packages; test_web_examples.py builds with those of web/",
    "npm install ../../web/lib webgpu": "downloads a package; test_web_examples.py runs ask.mjs with that of web/",
    "VK_ADD_DRIVER_FILES=": "names a driver of Debian's; test_web_examples.py takes the one that this machine has",
}


def shell_block(words: str) -> str:
    """The only block with these words."""
    (text,) = (text for text in SHELL_BLOCKS if words in text)
    return text


def run_in(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell block as a reader would, programs in the folder `bin` first."""
    path = f"{folder / 'bin'}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", text], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


def download(folder: Path, part_bytes: int) -> str:
    """Puts two builds of a system into a folder, as if downloaded; returns the label of the second."""
    label = ""
    for seed in range(2):
        release = check_release_folder(make_system(folder / f"made-{seed}" / "walk", seed=seed))
        pack_assets(release, folder, part_bytes)
        label = release.label
    return label


WITH_COMMANDS = [path for path in DOCUMENTS if commands(path)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place that looks like a clone after `make setup`; what commands write does not reach the real one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in (".venv", "docs", "Makefile", "scripts", "pyproject.toml", "web", "build", "training"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "systems").mkdir()  # a real folder: documents say what to write there
    for path in (ROOT / "systems").iterdir():
        (folder / "systems" / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_commands_of_console_blocks_run(path: Path, clone: Path) -> None:
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for name, text in files(path).items():
        (clone / name).write_text(text, encoding="utf-8")
    for command in commands(path):
        if command.startswith("make "):  # the tests themselves, or a server that stays: only what it would do
            command = command.split("#")[0].replace("make ", "make --dry-run ")
        result = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=ROOT if command.startswith("make ") else clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def test_every_shell_block_is_run_or_says_why_not() -> None:
    for text in SHELL_BLOCKS:
        assert sum(words in text for words in (*RUN, *NOT_RUN)) == 1, text
    for words in RUN:
        assert shell_block(words)
    assert [words for words in NOT_RUN if not any(words in text for text in SHELL_BLOCKS)] == []


@pytest.mark.parametrize("part_bytes", [700_000, 10_000_000], ids=["parts", "whole"])
def test_recipe_checks_joins_and_unpacks_one_download_of_several(tmp_path: Path, part_bytes: int) -> None:
    text = shell_block("sha256sum --check")
    example = re.findall(r"^label=(\S+)", text, re.MULTILINE)
    assert [re.sub(r"[0-9a-f]{12}$", "", each) for each in example] == ["hop-sequential-q4f16_1-"]
    label = download(tmp_path, part_bytes)
    result = run_in(tmp_path, text.replace(example[0], label))
    assert result.returncode == 0, result.stderr
    assert check_release_folder(tmp_path / "walk").label == label
    assert [path.name for path in tmp_path.glob("*.zip") if path.name.startswith(label)] == [f"{label}.zip"]


def test_recipe_stops_at_a_broken_download(tmp_path: Path) -> None:
    label = download(tmp_path, 700_000)
    with (tmp_path / f"{label}.zip.002").open("ab") as part:
        part.write(b"!")
    text = shell_block("sha256sum --check")
    result = run_in(tmp_path, re.sub(r"^label=\S+", f"label={label}", text, flags=re.MULTILINE))
    assert result.returncode != 0
    assert f"{label}.zip.002: FAILED" in result.stdout
    assert not (tmp_path / "walk").exists()


def test_recipe_verifies_every_file_of_a_download(tmp_path: Path) -> None:
    label = download(tmp_path, 700_000)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text('#!/bin/sh\ntest "$1 $2 $4" = "attestation verify --repo" && basename "$3"\n')
    (tmp_path / "bin/gh").chmod(0o755)
    text = shell_block("gh attestation verify")
    result = run_in(tmp_path, re.sub(r"^label=\S+", f"label={label}", text, flags=re.MULTILINE))
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == sorted(path.name for path in tmp_path.glob(f"{label}.*"))


def test_recipe_converts_released_links(clone: Path) -> None:
    text = shell_block("rmas links convert downloads")
    for kind, name in re.findall(r"--(inner|outer) '[^=]+=([^']+)'", text):
        matrices = {"proj1.weight", "proj2.weight", "residual_proj.weight"}
        state = {part: torch.zeros((4, 4) if part in matrices else 4) for part in RELEASED_NAMES[kind]}
        (clone / "downloads" / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, clone / "downloads" / name)
    result = run_in(clone, text)
    assert result.returncode == 0, result.stderr
    links = load_links(clone / "links.json")
    assert list(links.inner) == ["planner", "critic", "solver"]
    assert list(links.outer) == ["planner->critic", "critic->solver", "solver->planner"]


def test_documents_have_commands_that_run() -> None:
    assert len(WITH_COMMANDS) >= 3
    assert list(files(ROOT / "README.md")) == ["systems/mine.yaml"]
    assert any("publish" in command and "--dry-run" in command for path in WITH_COMMANDS for command in commands(path))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_rmas_command_and_make_target_exists(path: Path) -> None:
    """Of the blocks that are not run too: those that need a network, a secret or an hour."""
    group = typer.main.get_command(app)
    text = "\n".join(block for kind in ("bash", "sh", "console") for block in blocks(path, kind))
    lines = text.replace("\\\n", " ").splitlines()
    for call in re.findall(r"(?:^|&& |\$ |=… )rmas ([^&|#\n]*)", "\n".join(lines), re.MULTILINE):
        name, *arguments = shlex.split(call)
        if name == "--help":
            continue
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        assert command is not None, f"rmas {name}"
        if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
            command = command.commands[arguments[0]]
        known = {"--help"} | {option for parameter in command.params for option in parameter.opts}
        assert {each.split("=")[0] for each in arguments if each.startswith("--")} <= known, call
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines:
        for call in re.findall(r"(?:^|&& |\$ )make ([\w -]+)", line):
            assert set(call.split()) <= targets, line


def test_every_hf_command_and_its_options_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    notebooks = (json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "examples").rglob("*.ipynb"))
    texts += ["".join(cell["source"]) for notebook in notebooks for cell in notebook["cells"]]
    calls = {call for text in texts for call in re.findall(r"(?:^|[`&$!] ?)hf ([^`&|#\n]+)", text, re.MULTILINE)}
    assert len(calls) >= 3
    for call in sorted(calls):
        words = shlex.split(call)
        command = list(itertools.takewhile(re.compile(r"[a-z-]+").fullmatch, words))
        shown = subprocess.run(
            [ROOT / ".venv/bin/hf", *command, "--help"],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "99"},
        )
        assert shown.returncode == 0, f"hf {call}\n{shown.stderr}"
        known = re.findall(r"(?<=[ ,])--[\w-]+", shown.stdout)
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= set(known), f"hf {call}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


def test_readme_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for path in DOCUMENTS if (name := name_of(path)) != "README.md" and f"]({name})" not in text]
    assert missing == []


def test_manifest_table_names_every_key() -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    section = text[text.index("### `system.json`") : text.index("### `recursivelink.json`")]
    for name, field in Manifest.model_fields.items():
        assert f"`{field.alias or name}`" in section, name


def test_sizes_on_the_page_about_hosting_were_measured() -> None:
    measured = json.loads((ROOT / "docs/evidence/bench-sizes.json").read_text(encoding="utf-8"))["results"][
        "Qwen3-1.7B"
    ]
    said = f"{measured['bytes'] / 1e6:.1f} MB instead of {measured['gzip'] / 1e6:.2f} MB"
    assert f"a library of Qwen3-1.7B is {said}" in (ROOT / "docs/hosting.md").read_text(encoding="utf-8")


def test_table_of_tuning_is_what_rmas_tune_wrote() -> None:
    runs = json.loads((ROOT / "docs/evidence/tune-hop-sequential.json").read_text(encoding="utf-8"))["runs"]
    text = (ROOT / "docs/tuning.md").read_text(encoding="utf-8")
    (command,) = (each for each in commands(ROOT / "docs/tuning.md") if each.startswith("rmas tune"))
    assert runs[0]["command"] == command.replace("--limit 100", "--limit 400")
    chosen = runs[0]["result"]["tuned"]
    rows = re.findall(
        r"^\| (\d) \| (\d) \| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \| (\d+)(, chosen)? \|$", text, re.MULTILINE
    )
    cells = runs[0]["result"]["cells"]
    for (rounds, steps, accuracy, low, high, positions, mark), cell in zip(rows, cells, strict=True):
        at = (int(rounds), int(steps))
        assert at == (cell["rounds"], cell["latent_steps"])
        assert bool(mark) == (at == (chosen["rounds"], chosen["latent_steps"]))
        assert int(positions) == round(cell["forward_positions"])
        # The record has four digits and the table three, each rounded from the value itself.
        for said, key in ((accuracy, "accuracy"), (low, "low"), (high, "high")):
            assert abs(float(said) - cell[key]) < 0.00056, key


@pytest.mark.parametrize("name", ["hop-sequential", "fare-deliberation"])
def test_evidence_of_early_stopping_is_in_the_system_and_in_the_table(name: str) -> None:
    record = json.loads((ROOT / f"docs/evidence/tune-{name}.json").read_text(encoding="utf-8"))
    tuned = load_system(ROOT / f"systems/{name}.yaml").tuned
    assert tuned is not None and tuned.early_stopping is not None
    assert record["runs"][-1]["result"]["tuned"] == tuned.model_dump(mode="json", exclude_none=True)
    early = tuned.early_stopping
    saved = f"{1 - early.forward_positions / early.full_forward_positions:.1%}"
    of = f"{early.forward_positions:.0f} of {early.full_forward_positions:.0f} | {saved} ("
    (row,) = re.findall(rf"^\| {name} \|.*$", (ROOT / "docs/tuning.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert of in row


def test_changelog_has_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version.group(1)}" in (ROOT / "CHANGELOG.md").read_text()
