"""`rmas build` and `rmas site`: a folder appears whole, and an error keeps the earlier one."""

import errno
import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.compiler.agents import built_agents
from recursivemas.release import package, site
from recursivemas.release.package import Supplied, build_system, is_current
from recursivemas.release.site import assemble_site, find_systems
from recursivemas.system.errors import InputError
from recursivemas.system.manifest import load_manifest
from recursivemas.system.settings import AnswerRetry
from recursivemas.system.system import load_system

from .made_agents import LINKS, SYSTEM, make_agents

OPTIONS = CompileOptions("q0f32")


def build(root: Path, out: Path, options: CompileOptions = OPTIONS) -> None:
    build_system(SYSTEM, LINKS, out, options, supplied=Supplied(root / "agents"))


def make_site(root: Path, out: Path) -> None:
    assemble_site(root / "page", [root / "built"], out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Agents, a page, and a system built from the agents."""
    make_agents(tmp_path / "agents")
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<!doctype html>")
    (tmp_path / "page" / "assets" / "a.js").write_text("1")
    build(tmp_path, tmp_path / "built")
    return tmp_path


def test_build_replaces_an_earlier_build(root: Path) -> None:
    before = contents(root / "built")
    (root / "built" / "stray").write_text("")
    with pytest.raises(InputError, match="stray: is not part of an earlier build and would be lost"):
        build(root, root / "built")
    (root / "built" / "stray").unlink()
    build(root, root / "built")
    assert contents(root / "built").keys() == before.keys()
    assert is_current(SYSTEM, LINKS, root / "built", OPTIONS, Supplied(root / "agents"))


def changed_system(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A system file with fields in a prompt, numbers of its own, and these questions."""
    system = yaml.safe_load(SYSTEM.read_text())
    for agent in system["agents"]:
        agent["model"] = str((SYSTEM.parent / agent["model"]).resolve())
    system["agents"][0]["first_round_prompt"] = "{question} {facts}{if hint} {hint}{end}"
    system["agents"][1]["latent_steps"] = 2
    system["task"] |= {"data": "questions.jsonl", "latent_steps": 5}
    system["decoding"] |= {"top_k": 20, "temperature": "checkpoint", "answer_retry": {"max_new_tokens": 8}}
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(system))
    return path


def test_build_keeps_the_fields_that_prompts_use(root: Path) -> None:
    rows = [{"question": "q", "answer": "a", "facts": "x", "source": "unused"}]
    path = changed_system(root, [*rows, rows[0] | {"hint": "y"}])
    build_system(path, LINKS, root / "built", OPTIONS, supplied=Supplied(root / "agents"))
    manifest = load_manifest(root / "built" / "system.json")
    assert manifest.task is not None and manifest.task.questions is not None
    questions = json.loads((root / "built" / manifest.task.questions).read_text())
    assert [question["fields"] for question in questions] == [{"facts": "x"}, {"facts": "x", "hint": "y"}]
    assert (manifest.latent_steps, [agent.latent_steps for agent in manifest.agents]) == (5, [None, 2, None])
    assert (manifest.decoding.temperature, manifest.decoding.top_k) == (None, 20)
    assert manifest.decoding.answer_retry == AnswerRetry(max_new_tokens=8)


def test_build_refuses_questions_without_a_field(root: Path) -> None:
    before = contents(root / "built")
    path = changed_system(root, [{"question": "q", "answer": "a"}])
    with pytest.raises(InputError, match=r"agent 'planner': first_round_prompt needs the field 'facts', which"):
        build_system(path, LINKS, root / "built", OPTIONS, supplied=Supplied(root / "agents"))
    assert contents(root / "built") == before


def test_build_tells_which_mlc_llm_defined_an_agent(root: Path) -> None:
    shutil.rmtree(root / "agents")
    make_agents(root / "agents", versions={"emscripten": "3.1.6", "mlc-llm": "0.1, commit 0123"})
    build(root, root / "built")
    manifest = json.loads((root / "built" / "system.json").read_text())
    assert manifest["provenance"]["checkpoints"]["solver"]["versions"]["mlc-llm"] == "0.1, commit 0123"
    bill = json.loads((root / "built" / "sbom.cdx.json").read_text())["components"]
    assert [each["version"] for each in bill if each["name"] == "mlc-llm"] == ["0.1, commit 0123"]


def test_site_replaces_an_earlier_site(root: Path) -> None:
    make_site(root, root / "site")
    (root / "site" / "CNAME").write_text("example.org")
    (root / "site" / "assets" / "stray").write_text("")
    make_site(root, root / "site")
    assert (root / "site" / "assets" / "a.js").read_text() == "1"
    assert contents(root / "site" / "systems" / "hop-sequential") == contents(root / "built")
    assert (root / "site" / "CNAME").read_text() == "example.org"
    assert not (root / "site" / "assets" / "stray").exists()


def something_else(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")


def a_file(out: Path) -> None:
    out.write_text("notes")


@pytest.mark.parametrize(("make", "kind"), [(build, "an earlier build"), (make_site, "an earlier site")])
@pytest.mark.parametrize(
    ("there", "inside", "message"),
    [
        (something_else, "", "exists and is not {kind} (no "),
        (a_file, "", "is a file; --out must be a folder, new or {kind}"),
        (a_file, "below/it", "is a file; --out must be a folder, new or {kind}"),
    ],
)
def test_out_that_is_something_else_is_refused_and_kept(
    root: Path,
    make: Callable[[Path, Path], None],
    kind: str,
    there: Callable[[Path], None],
    inside: str,
    message: str,
) -> None:
    there(root / "out")
    before = contents(root)
    with pytest.raises(InputError) as caught:
        make(root, root / "out" / inside)
    assert message.format(kind=kind) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CompileOptions("q4f32_1"), "was compiled with quantization 'q0f32', but this build needs 'q4f32_1'"),
        (CompileOptions("q0f32", context_window_size=128), "was compiled with context_window_size 256"),
        (CompileOptions("q0f32", prefill_chunk_size=32), "was compiled with prefill_chunk_size 64"),
        (CompileOptions("q0f32", small_libraries=True), "was compiled with small_libraries False"),
    ],
)
def test_build_refuses_prebuilt_agents_of_other_options(root: Path, options: CompileOptions, message: str) -> None:
    before = contents(root)
    with pytest.raises(InputError, match=message):
        build(root, root / "built", options)
    assert contents(root) == before


@pytest.mark.parametrize("asked", [True, False])
def test_build_takes_prebuilt_agents_with_small_libraries(tmp_path: Path, asked: bool) -> None:
    prebuilt = make_agents(tmp_path, small_libraries=True)
    built_agents(load_system(SYSTEM), CompileOptions("q0f32", small_libraries=asked), prebuilt=prebuilt)


def test_build_refuses_prebuilt_agents_of_another_model(root: Path) -> None:
    shutil.rmtree(root / "agents")
    make_agents(root / "agents", model="someone")
    before = contents(root)
    with pytest.raises(InputError, match="was compiled with model 'someone', but this build needs 'planner'"):
        build(root, root / "built")
    assert contents(root) == before


def test_build_refuses_prebuilt_agents_of_another_backend(root: Path) -> None:
    with pytest.raises(InputError, match="was compiled with backend 'relax', but this build needs 'mlc'"):
        build(root, root / "new", CompileOptions("q0f32", backend="mlc"))
    assert not (root / "new").exists()


@pytest.mark.parametrize(("revision", "refused"), [("b" * 40, True), ("a" * 40, False), ("main", False)])
@pytest.mark.parametrize("part", ["model", "adapter"])
def test_prebuilt_agents_are_of_the_commit_that_the_system_names(
    tmp_path: Path, part: str, revision: str, refused: bool
) -> None:
    commit, adapter = "a" * 40, {"adapter": "owner/adapter", "revision": "a" * 40, "sha256": "0" * 64}
    prebuilt = make_agents(tmp_path, model="owner/model", revision=commit, adapter=adapter)
    named = {"model": "owner/model", "revision": commit, "adapter": "owner/adapter", "adapter_revision": commit}
    named["revision" if part == "model" else "adapter_revision"] = revision
    system = load_system(SYSTEM)
    agents = [agent.model_copy(update=named) for agent in system.agents]
    name = "revision" if part == "model" else "adapter revision"
    with pytest.raises(InputError, match=f"was compiled with {name} '{commit}'") if refused else nullcontext():
        built_agents(system.model_copy(update={"agents": agents}), OPTIONS, prebuilt=prebuilt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda links: links["inner"].pop("critic"), "no inner link 'critic'; it has 'planner', 'solver', trained for"),
        (lambda links: links["outer"].pop("planner->critic"), "no outer link 'planner->critic'; it has "),
        (
            lambda links: links["inner"].update(critic=links["inner"]["planner"]),
            "inner link 'critic' maps hidden size",
        ),
    ],
)
def test_build_refuses_links_of_another_system_before_it_compiles(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], message: str
) -> None:
    links = json.loads(LINKS.read_text())
    change(links)
    (root / "links.json").write_text(json.dumps(links))
    monkeypatch.setattr(package, "built_agents", lambda *_: pytest.fail("agents were compiled first"))
    with pytest.raises(InputError, match=re.escape(message)):
        build_system(SYSTEM, root / "links.json", root / "new", OPTIONS)
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), InputError),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize(("make", "out"), [(build, "built"), (build, "new/system"), (make_site, "new/site")])
def test_a_disk_that_fills_up_leaves_everything_as_it_was(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, Path], None],
    out: str,
    error: BaseException,
    becomes: type[BaseException],
) -> None:
    before = contents(root)

    def fill(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        raise error

    for module in (package, site):
        monkeypatch.setattr(module, "copy_folder", fill)
    with pytest.raises(becomes) as caught:
        make(root, root / out)
    if becomes is InputError:
        assert str(caught.value).startswith(f"{root / out}: cannot be written: {error.args[1]}")
    assert contents(root) == before
    assert not (root / "new").exists()


def test_build_command_tells_a_refusal_in_one_line(root: Path) -> None:
    a_file(root / "out")
    command = ["build", str(SYSTEM), "--links", str(LINKS), "--out", str(root / "out")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"{root / 'out'}: is a file; --out must be a folder, new or an earlier build"


def test_site_refuses_two_systems_of_one_name(root: Path) -> None:
    with pytest.raises(InputError, match="hop-sequential: two of the systems have this name"):
        assemble_site(root / "page", [root / "built", root / "built"], root / "site")
    assert not (root / "site").exists()


def test_find_systems_passes_over_a_build_under_way(root: Path) -> None:
    shutil.copytree(root / "built", root / ".built.partial-1")
    assert find_systems(root) == [root / "built"]
