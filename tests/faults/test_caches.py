"""A damaged entry of the cache is made again with one line; nothing of it gets into a build."""

from pathlib import Path

import pytest

from recursivemas.compiler.agent_folder import AgentFolder, CompileOptions
from recursivemas.compiler.agents import BuiltAgent, built_agents
from recursivemas.compiler.runtime import ensure_runtime, objects
from recursivemas.system.cache import cache_folder
from recursivemas.system.system import System, load_system

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own with the machine's browser runtime."""
    ensure_runtime()
    runtime = cache_folder() / "runtime"
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "runtime").symlink_to(runtime)
    monkeypatch.setenv("RMAS_CACHE_DIR", str(folder))
    return folder


def one_agent() -> System:
    system = load_system(REPOSITORY / "systems/hop-sequential.yaml")
    return system.model_copy(update={"agents": system.agents[:1], "edges": ()})


def compiled(said: list[str]) -> AgentFolder:
    (built,) = built_agents(one_agent(), CompileOptions("q0f32"), said.append).values()
    assert isinstance(built, BuiltAgent)
    return built.compiled


def test_a_damaged_compiled_agent_is_compiled_again(own_cache: Path) -> None:
    first = compiled([])
    digest = first.content_digest()
    said: list[str] = []
    assert compiled(said).content_digest() == digest
    assert said == []  # the cache served it
    path = first.folder / "params_shard_0.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert compiled(said).content_digest() == digest
    assert f"planner: the compiled agent in the cache has other bytes in {path.name} than were written" in said[0]
    assert said[0].endswith("it is compiled again")


def test_a_damaged_runtime_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path))

    def build(emscripten: object, sources: object, folder: Path) -> None:
        folder.mkdir()
        for unit in objects.UNITS:
            (folder / f"{unit}.o").write_bytes(unit.encode())

    monkeypatch.setattr(objects, "_build", build)
    said: list[str] = []
    runtime = ensure_runtime(said.append)
    ensure_runtime(said.append)
    assert len(said) == 1
    runtime.objects[1].write_bytes(b"another object")
    ensure_runtime(said.append)
    assert said[1].startswith("the cached browser runtime has other bytes in tvmjs_support.o")
    assert runtime.objects[1].read_bytes() == b"tvmjs_support"
