"""Tiny random agents of three families, made once per test session."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recursivemas.system.manifest import Sampling
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent, load_agents
from recursivemas.training.links import Links
from recursivemas.training.rollout import Sampler
from recursivemas.training.tasks import hop
from recursivemas.training.tiny.models import AgentSpec, build_model, build_tokenizer, save_agent

SHAPES = (
    AgentSpec("planner", "qwen3", 32, 48, 2, 1, seed=1, learning_rate=1e-3, kind=0, head_dim=16),
    AgentSpec("critic", "llama", 48, 64, 3, 3, seed=2, learning_rate=1e-3, kind=1, head_dim=16),
    AgentSpec("solver", "qwen2", 40, 64, 2, 2, seed=3, learning_rate=1e-3, kind=2, head_dim=20),
)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("agents")
    for spec in SHAPES:
        tokenizer = build_tokenizer(hop.words(), hop.SPECIALS, spec.seed)
        model = build_model(spec, tokenizer.get_vocab_size(), 1, 2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)  # livelier than at initialisation
        save_agent(folder / spec.name, model, tokenizer, {})
    return folder


MakeSystem = Callable[..., System]


@pytest.fixture(scope="session")
def make_system(checkpoints: Path) -> MakeSystem:
    def make(pattern: str = "sequential", think: bool = True, rounds: int = 2, **training: object) -> System:
        names = ["planner", "critic", "solver"]
        if pattern in ("distillation", "deliberation"):
            names = ["planner", "solver"]
        incoming = {
            "sequential": {"planner": ["solver->planner"], "critic": ["planner->critic"], "solver": ["critic->solver"]},
            "mixture": {
                "planner": ["solver->planner"],
                "critic": ["solver->critic"],
                "solver": ["planner->solver", "critic->solver"],
            },
            "distillation": {"planner": ["solver->planner"], "solver": ["planner->solver"]},
            "deliberation": {"planner": ["solver->planner"], "solver": ["planner->solver"]},
        }[pattern]
        agents = [
            {
                "id": name,
                "role": name,
                "model": str(checkpoints / name),
                "prompt": f"<bos> plan {{question}} {' '.join(f'{{latent:{edge}}}' for edge in incoming[name])} go",
            }
            for name in names
        ]
        data = {
            "version": 1,
            "name": f"test-{pattern}",
            "pattern": pattern,
            "rounds": rounds,
            "latent_steps": 3,
            "agents": agents,
            "decoding": {"max_new_tokens": 3, "think_before_answer": think, "answer_prefix": "="},
            "training": training,
            "task": {"name": "hop", "train": "generator:hop"},
        }
        return System.parse(data, "test")

    return make


@pytest.fixture(scope="session")
def system(make_system: MakeSystem) -> System:
    return make_system()


@pytest.fixture(scope="session")
def agents(system: System) -> dict[str, LoadedAgent]:
    return load_agents(system)


class Scripted(Sampler):
    """A sampler that picks given tokens, (B,) at a time."""

    def __init__(self, picks: Iterable[Tensor]) -> None:
        object.__setattr__(self, "picks", iter(picks))

    def of(self, checkpoint: Sampling) -> "Scripted":
        return self

    def __call__(self, scores: Tensor, seen: Sequence[Sequence[int]] = ()) -> Tensor:
        picked: Tensor = next(self.picks)  # type: ignore[attr-defined]
        return picked


def make_links(system: System, agents: dict[str, LoadedAgent], variant: str = "ln_res") -> Links:
    torch.manual_seed(5)
    sizes = {key: agent.hidden_size for key, agent in agents.items()}
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    return Links.create(sizes, edges, variant, 24, 20)  # type: ignore[arg-type]


QUESTIONS = ["a>b b~c c-a ? a@2", "d>e e~f f-g g>d ? d@3 a>c", "h>i ? h@1"]
