"""A stamp changes if, and only if, something changes that affects the agent."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from recursivemas.compiler import agents, stamp
from recursivemas.compiler.agent_folder import AgentFolder, CompileOptions
from recursivemas.compiler.agents import built_agents
from recursivemas.compiler.stamp import compiler, stamp_of
from recursivemas.mlc.tree import SOURCE_VARIABLE
from recursivemas.release.package import Supplied, build_system, is_current
from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef, ResolvedModel
from recursivemas.system.system import load_system

from .made_agents import LINKS, SYSTEM, make_agents

OPTIONS = CompileOptions("q0f32")


@pytest.fixture
def mlc_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a tree that `find_mlc` takes for MLC-LLM; returns a file in it that defines models."""
    package = tmp_path / "mlc" / "python" / "mlc_llm"
    (package / "model").mkdir(parents=True)
    (package / "libinfo.py").write_text("__version__ = '1'")
    (package / "model" / "llama.py").write_text("1")
    monkeypatch.setenv(SOURCE_VARIABLE, str(tmp_path / "mlc"))
    return package / "model" / "llama.py"


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces compiling by copying ready-made folders; returns the names of the "compiled" checkpoints."""
    names: list[str] = []
    made = make_agents(tmp_path / "made")
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))

    def compile_agent(model: ResolvedModel, out: Path, *_: Any) -> AgentFolder:
        names.append(model.name)
        return agents.read_agent_folder(shutil.copytree(made / model.name, out))

    monkeypatch.setattr(agents, "compile_agent", compile_agent)
    return names


def emcc(folder: Path, version: str) -> Path:
    """Makes a folder with an emcc that only prints its version."""
    folder.mkdir(exist_ok=True)
    (folder / "emcc").write_text(f"#!/bin/sh\necho 'emcc (stand-in) {version}'\n")
    (folder / "emcc").chmod(0o755)
    return folder


def test_compiled_agents_are_kept_until_emscripten_changes(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, system = os.environ["PATH"], load_system(SYSTEM)
    for version, expected in (("3.1.50", 3), ("3.1.50", 3), ("3.1.51", 6)):
        monkeypatch.setenv("PATH", f"{emcc(tmp_path / 'bin', version)}:{path}")
        built_agents(system, OPTIONS)
        assert len(compiled) == expected


def test_small_libraries_are_other_agents_in_the_cache(compiled: list[str]) -> None:
    small = CompileOptions("q0f32", small_libraries=True)
    for options, expected in ((OPTIONS, 3), (small, 6), (OPTIONS, 6), (small, 6)):
        built_agents(load_system(SYSTEM), options)
        assert len(compiled) == expected


def test_build_is_not_current_for_small_libraries(tmp_path: Path) -> None:
    supplied = Supplied(make_agents(tmp_path / "made", small_libraries=True))
    build_system(SYSTEM, LINKS, tmp_path / "out", OPTIONS, supplied=supplied)
    assert is_current(SYSTEM, LINKS, tmp_path / "out", OPTIONS, supplied)
    assert not is_current(SYSTEM, LINKS, tmp_path / "out", CompileOptions("q0f32", small_libraries=True), supplied)


def test_compiled_agents_of_relax_outlive_another_mlc_llm(compiled: list[str], mlc_tree: Path) -> None:
    for _ in range(2):
        built_agents(load_system(SYSTEM), OPTIONS)
        mlc_tree.write_text("2")
    assert len(compiled) == 3


def test_compiled_agents_of_mlc_do_not(compiled: list[str], mlc_tree: Path) -> None:
    options = CompileOptions("q0f32", backend="mlc")
    for text, expected in (("1", 3), ("1", 3), ("2", 6)):
        mlc_tree.write_text(text)
        built_agents(load_system(SYSTEM), options)
        assert len(compiled) == expected


def test_stamp_of_mlc_changes_with_our_patches(mlc_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiler(["mlc"]), compiler(["relax"])
    monkeypatch.setattr(sys.modules["recursivemas.mlc"], "__path__", [str(mlc_tree.parent)])
    assert compiler(["mlc"])["patches"] != before[0]["patches"]
    assert compiler(["relax"]) == before[1]


def test_stamp_changes_with_tvms_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamp_of([], compiler=compiler(["relax"]))
    monkeypatch.setattr(stamp, "runtime_key", lambda: "tvm-source-emcc-3.1.6-0123")
    assert stamp_of([], compiler=compiler(["relax"])) != before


def test_build_is_current_until_emscripten_changes(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_system(SYSTEM, LINKS, tmp_path / "out", OPTIONS)
    assert is_current(SYSTEM, LINKS, tmp_path / "out", OPTIONS)
    assert len(compiled) == 3
    monkeypatch.setenv("PATH", f"{emcc(tmp_path / 'bin', '3.1.51')}:{os.environ['PATH']}")
    assert not is_current(SYSTEM, LINKS, tmp_path / "out", OPTIONS)


def test_build_of_prebuilt_agents_needs_no_emscripten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    supplied = Supplied(make_agents(tmp_path / "made"))
    build_system(SYSTEM, LINKS, tmp_path / "out", OPTIONS, supplied=supplied)
    assert is_current(SYSTEM, LINKS, tmp_path / "out", OPTIONS, supplied)


def test_built_agents_look_for_emscripten_before_anything_else(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(emcc(tmp_path / "bin", "3.0.0")) + ":/usr/bin:/bin")
    monkeypatch.setattr(CheckpointRef, "resolve", lambda *_: pytest.fail("a model was looked for first"))
    with pytest.raises(InputError, match=r"emcc 3\.1\.6 or newer is needed"):
        built_agents(load_system(SYSTEM), OPTIONS)
    assert compiled == []
