"""Times of a system's agents on the WebGPU adapter that Node finds, measured in the engine as it ships.

An agent's latent steps are queued and waited for once a turn, so the time of a step is the difference of two turns, by
the difference of their steps. Tokens and prompts are timed in the same way.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.engine_node import EngineNode
from harness.libraries import Libraries
from harness.node import open_node
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.compiler.model_facts import CacheShape
from recursivemas.compiler.models import ModelConfig, param_specs
from recursivemas.compiler.weights import weights_nbytes
from recursivemas.release.package import build_system
from recursivemas.system.progress import Say
from recursivemas.system.quantize import Scheme
from recursivemas.training.links import Links

_COPY = (Path(__file__).parent / "_copy.js").read_text("utf-8")
WORDS = "a question that no agent has been asked before, because what it kept of an earlier one would not be timed; "

# Gives the worker with links in JavaScript what it has in a browser, and `askHost`, which waits for its answer.
_START_HOST = """async (worker) => {
  let waiting;
  globalThis.self = globalThis;
  globalThis.postMessage = ({ result, error }) =>
    error ? waiting.reject(new Error(JSON.stringify(error))) : waiting.resolve(result);
  await import(worker);
  globalThis.askHost = (data) => new Promise((resolve, reject) => {
    waiting = { resolve, reject };
    globalThis.onmessage({ data });
  });
}"""


@dataclass(frozen=True)
class Work:
    """How much of everything is timed.

    Attributes:
        steps: Latent steps of a short and of a long turn.
        tokens: Tokens of a short and of a long answer.
        prompt: Tokens of a short and of a long question.
        repeats: How often each pair is timed; the median counts.
        copied_bytes: Size of the buffer that is copied, if the adapter binds so much.
        copies: How often it is copied.
    """

    steps: tuple[int, int]
    tokens: tuple[int, int]
    prompt: tuple[int, int]
    repeats: int
    copied_bytes: int
    copies: int


def ask_adapter(libraries: Libraries, work: Work) -> dict[str, Any]:
    """The adapter's names, whether it has float16, and the bytes a second that a copy on it reads and writes."""
    asked = {"bytes": work.copied_bytes, "repeats": work.copies}
    found: dict[str, Any] = libraries.evaluate(_COPY, asked)
    return found


def write_chain(folder: Path, models: Mapping[str, Mapping[str, Any]], say: Say) -> None:
    """Writes a sequential system of random agents, in this order.

    Args:
        folder: Gets checkpoints, links and the system's description.
        models: The content of `config.json` by the agent's id.
        say: Called with what is written.
    """
    ids = list(models)
    agents = []
    for index, (agent, config) in enumerate(models.items()):
        say(f"writing random weights of {agent}")
        write_random_checkpoint(folder / agent, config, dtype="bfloat16", seed=index)
        slot = f"{{question}} {{latent:{ids[index - 1]}->{agent}}} go"
        first = {} if index else {"first_round_prompt": "{question} go"}
        agents.append({"id": agent, "role": agent, "model": agent, "prompt": slot, **first})
    system = {
        "version": 1,
        "name": "chain",
        "pattern": "sequential",
        "rounds": 1,
        "latent_steps": 2,
        "agents": agents,
        "decoding": {"max_new_tokens": 1, "temperature": 0},
    }
    (folder / "chain.yaml").write_text(yaml.safe_dump(system, sort_keys=False), encoding="utf-8")
    sizes = {agent: int(config["hidden_size"]) for agent, config in models.items()}
    edges = {f"{a}->{b}": (a, b) for a, b in zip(ids, [*ids[1:], ids[0]], strict=True)}
    Links.create(sizes, edges).to_file("chain", {}).save(folder / "links.json")


def chain_folder(folder: Path, backend: str = "auto") -> Path:
    """Where `build_chain` puts the system for this backend."""
    return folder / "dist" / backend / "chain"


def build_chain(folder: Path, scheme: str, backend: str = "auto") -> Path:
    """Builds the system of `write_chain`; returns its folder.

    Args:
        folder: From `write_chain`.
        scheme: Of the weights.
        backend: `mlc` for MLC-LLM's graphs and TVM's kernels, which WebLLM's libraries are made of.
    """
    out = chain_folder(folder, backend)
    build_system(folder / "chain.yaml", folder / "links.json", out, CompileOptions(scheme, backend))
    return out


@dataclass(frozen=True)
class StepBytes:
    """Bytes that a GPU must read for a step, whatever its kernels do.

    Attributes:
        layers: Weights of all layers, and norms.
        head: Weights of the output layer.
        link: Weights of the agent's inner link.
        position: Keys and values of one position of the context.
    """

    layers: int
    head: int
    link: int
    position: int

    def latent_step(self, positions: int) -> int:
        """Of a latent step with so many positions before it."""
        return self.layers + self.link + positions * self.position

    def token(self, positions: int) -> int:
        """Of a decoded token."""
        return self.layers + self.head + positions * self.position


def step_bytes(config: ModelConfig, scheme: Scheme) -> StepBytes:
    """What a step of a model reads, with an inner link as wide as its hidden states."""
    specs = param_specs(config)
    size = config.hidden_size
    link = Links.create({"a": size}, {}).inner["a"]
    cache = CacheShape(
        config.num_attention_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.head_dim,
    )
    # The difference of two sizes has no spare page in it.
    page = cache.nbytes(32, scheme) - cache.nbytes(16, scheme)
    return StepBytes(
        layers=weights_nbytes([spec for spec in specs if not spec.table], scheme),
        head=weights_nbytes([spec for spec in specs if spec.table][-1:], scheme),
        link=sum(parameter.nbytes for parameter in link.parameters()),
        position=page // 16,
    )


Run = Callable[..., list[dict[str, Any]]]
"""Answers a question, with RunOptions in camelCase, and gives the turns."""


class Timed:
    """Times the agents of a system from `build_chain`.

    Args:
        engine: With the system loaded.
        work: How much.
    """

    _asked = itertools.count(1)
    """Numbers of questions, which the systems that are timed in turns share."""

    def __init__(self, engine: EngineNode, work: Work) -> None:
        self._engine, self._work = engine, work

    def _question(self, tokens: int) -> str:
        """A text of so many tokens, which are bytes, that begins like no other."""
        return (f"{next(self._asked):04d} " + WORDS * (1 + tokens // len(WORDS)))[:tokens]

    def _turn(self, agent: str, *, steps: int, tokens: int, prompt: int) -> tuple[float, dict[str, Any], int]:
        """Time of a turn in ms, the turn, and the positions that it computed."""
        before = self._engine.counters()["positions"]
        result = self._engine.run(
            self._question(prompt),
            mode="loop",
            order=[agent],
            rounds=1,
            latentSteps=steps,
            decoding={"maxNewTokens": tokens, "temperature": 0, "thinkBeforeAnswer": True},
        )
        (turn,) = result["turns"]
        return float(turn["ms"]), turn, self._engine.counters()["positions"] - before

    def agent(self, agent: str) -> dict[str, Any]:
        """ms of a latent step and of a decoded token, and tokens of a prompt a second."""
        (few, many), (one, more), (short, long) = self._work.steps, self._work.tokens, self._work.prompt
        self._turn(agent, steps=many, tokens=1, prompt=long)  # compiles shaders and makes room
        steps, tokens, prompts = [], [], []
        decoded = computed = 0
        for _ in range(self._work.repeats):
            begun, _, _ = self._turn(agent, steps=few, tokens=1, prompt=short)
            ended, _, _ = self._turn(agent, steps=many, tokens=1, prompt=short)
            steps.append((ended - begun) / (many - few))
            begun, brief, _ = self._turn(agent, steps=1, tokens=one, prompt=short)
            ended, wordy, _ = self._turn(agent, steps=1, tokens=more, prompt=short)
            decoded = wordy["decodedTokens"] - brief["decodedTokens"]
            if decoded:
                tokens.append((ended - begun) / decoded)
            begun, _, fewer = self._turn(agent, steps=1, tokens=1, prompt=short)
            ended, _, most = self._turn(agent, steps=1, tokens=1, prompt=long)
            computed = most - fewer
            prompts.append((ended - begun) / computed)
        return {
            "latent_step_ms": statistics.median(steps),
            "decoded_token_ms": statistics.median(tokens) if tokens else None,
            "prefill_tokens_per_second": 1000 / statistics.median(prompts),
            "positions_of_a_step": short + few + (many - few) // 2,
            "decoded_tokens": decoded,
            "prompt_tokens": computed,
        }

    def turns(self, question: str, **options: Any) -> list[dict[str, Any]]:
        """Answers a question; see `Run`."""
        turns: list[dict[str, Any]] = self._engine.run(question, **options)["turns"]
        return turns

    def rounds(self, others: Mapping[str, Run]) -> dict[str, float]:
        """Times a round of all agents here and in other ways, by turns.

        Args:
            others: What runs the same question elsewhere, by the name of the way.

        Returns:
            Latent steps of a turn; `compiled_links_ms`; of each other way `<name>_ms` and its ratio to compiled links.
        """
        _, many = self._work.steps
        ways: dict[str, Run] = {"compiled_links": self.turns, **others}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(self._work.repeats + 1):
            question = self._question(self._work.prompt[0])
            for name, run in ways.items():
                decoding = {"maxNewTokens": 1, "temperature": 0}
                turns = run(question, mode="latent", rounds=1, latentSteps=many, decoding=decoding)
                if repeat:  # the first one compiles shaders
                    spent[name].append(sum(float(turn["ms"]) for turn in turns))
        medians = {name: statistics.median(times) for name, times in spent.items()}
        return {
            "latent_steps": many,
            **{f"{name}_ms": ms for name, ms in medians.items()},
            **{f"{name}_to_compiled_links": medians[name] / medians["compiled_links"] for name in others},
        }


@contextmanager
def open_javascript_links(harness: Path, system: Path) -> Iterator[Run]:
    """A second process, whose links run in JavaScript on hidden states that are read back at every step.

    Args:
        harness: From `build_harness`.
        system: The system's folder.

    Yields:
        What runs a question.
    """
    (worker,) = harness.glob("assets/host-links-worker-*.js")
    with open_node(system.parent) as (libraries, _):
        libraries.evaluate(_START_HOST, worker.as_uri())
        url = libraries.url(system / "system.json")

        def run(question: str, **given: Any) -> Any:
            asked = [url, {"question": question, **given}]
            return libraries.evaluate(
                "async ([url, options]) => (await askHost({ url: new URL(url, location).href, options })).turns", asked
            )

        yield run


def share(least_bytes: int, bytes_per_second: float, ms: float | None) -> float | None:
    """How much of a time reading these bytes needs at this bandwidth."""
    return None if ms is None else least_bytes / bytes_per_second * 1000 / ms


def ids(models: Iterable[str]) -> list[str]:
    """Ids of agents for the names of models: qwen3-1-7b for Qwen3-1.7B."""
    return [name.lower().replace(".", "-") for name in models]
