"""Built systems, the harness and the browser, once per test session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from playwright.sync_api import Browser

from harness.engine_page import build_harness, launch, serving
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.links_file import load_links
from recursivemas.system.system import load_system
from recursivemas.training.agents import load_agents
from recursivemas.training.links import Links
from recursivemas.training.recursion import Recursion

REPOSITORY = Path(__file__).parents[2]
DEFAULT_SYSTEM = REPOSITORY / "systems/hop-sequential.yaml"
DEFAULT_LINKS = REPOSITORY / "systems/links/hop-sequential.recursivelink.json"


@pytest.fixture(scope="session")
def systems_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where built systems go; `rmas serve` would serve it."""
    return tmp_path_factory.mktemp("systems")


@pytest.fixture(scope="session")
def default_system(systems_folder: Path) -> Path:
    """The default system, built; compiled agents come from the cache when they are there."""
    out = systems_folder / "hop-sequential"
    build_system(DEFAULT_SYSTEM, DEFAULT_LINKS, out, CompileOptions(load_system(DEFAULT_SYSTEM).quantization))
    return out


@pytest.fixture(scope="session")
def reference() -> Recursion:
    """The default system in PyTorch."""
    return load_reference(DEFAULT_SYSTEM, DEFAULT_LINKS)


def load_reference(system_path: Path, links_path: Path) -> Recursion:
    """A system in PyTorch."""
    torch.set_num_threads(1)
    system = load_system(system_path)
    return Recursion(system, load_agents(system), Links.from_file(load_links(links_path)))


BuildVariant = Callable[..., Recursion]


@pytest.fixture(scope="session")
def build_variant(systems_folder: Path, default_system: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildVariant:
    """Builds another graph of the default agents with random links; returns it in PyTorch."""

    def build(name: str, variant: str, changes: dict[str, object], prompts: dict[str, str]) -> Recursion:
        folder = tmp_path_factory.mktemp(name)
        data = yaml.safe_load(DEFAULT_SYSTEM.read_text(encoding="utf-8"))
        agents = {each["id"]: each for each in data["agents"]}
        data["agents"] = [
            {
                "id": agent,
                "role": agent,
                "model": str((DEFAULT_SYSTEM.parent / agents[agent]["model"]).resolve()),
                "prompt": prompt,
            }
            for agent, prompt in prompts.items()
        ]
        data |= {"name": name, **changes}
        del data["task"], data["training"]
        path, links_path = folder / "system.yaml", folder / "links.json"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        system = load_system(path)
        loaded = load_agents(system)
        torch.manual_seed(7)
        links = Links.create(
            {key: agent.hidden_size for key, agent in loaded.items()},
            {edge.id: (edge.source, edge.target) for edge in system.edges},
            variant,  # type: ignore[arg-type]
            24,
            20,
        )
        links.to_file(name, {}).save(links_path)
        build_system(path, links_path, systems_folder / name, CompileOptions(system.quantization))
        return Recursion(system, loaded, links)

    return build


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
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness page, built."""
    return build_harness(tmp_path_factory.mktemp("harness"))


@pytest.fixture(scope="session")
def url(harness: Path, default_system: Path, systems_folder: Path) -> Iterator[str]:
    """The harness page, served with the built systems."""
    with serving(harness, systems_folder) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium with WebGPU on the CPU."""
    with launch() as running:
        yield running
