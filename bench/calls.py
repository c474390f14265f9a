"""Counts what a latent step asks of the GPU device, and the prompt positions that a run computes twice.

The agents have the graphs of the paper's Sequential-Light trio, all layers and heads of them, but narrow matrices. They
are just wide enough to be compiled with the schedule of large agents (`library.schedule_for`), so the kernels of a step
are the same, and so are the calls. The engine runs in Node on a device that does nothing
(`harness/idle-gpu.mjs`). Calls are counted where that device is called, with and without the layer that merges them
(`web/src/engine/few-calls.ts`). Where `MLC_LLM_SOURCE_DIR` names MLC-LLM's sources, the same agents are also built from
MLC-LLM's graphs with TVM's kernels, which is what WebLLM's libraries are, and their calls are counted as its runtime
makes them.

Positions are those of the prompts of `systems/*.yaml` by rule 3 of docs/recursion.md, for a question of 300 tokens. A
word or a sign counts as a token, and what a chat template adds is left out; both change the figures little.
"""

import importlib.metadata
import itertools
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from harness.engine_node import EngineNode, open_engine
from harness.engine_page import build_harness
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.mlc.tree import find_mlc
from recursivemas.release.package import build_system
from recursivemas.system.files import write_text_atomic
from recursivemas.system.prompt import Latent, Text, fill, parse_template
from recursivemas.system.system import Agent, System, load_system
from recursivemas.training.links import Links

EVIDENCE = Path("docs/evidence/bench-calls.json")
FEW, MANY = 2, 18  # latent steps; the difference of their counts is that of the steps alone
WARM = 4  # the first runs create what later ones have
COUNTED = ("dispatches", "bindGroups", "writes", "passes", "submits")
QUESTION_TOKENS = 300
PEER = "WebLLM's library"

_NARROW = {"hidden_size": 288, "intermediate_size": 128, "vocab_size": 320, "max_position_embeddings": 256}
_COMMON = {**_NARROW, "hidden_act": "silu", "tie_word_embeddings": True, "rms_norm_eps": 1e-6}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3": {
        **_COMMON,
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "llama": {
        **_COMMON,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
    "qwen2": {
        **_COMMON,
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "hidden_size": 12 * 128,  # MLC-LLM's Qwen2 takes only heads that fill it
    },
}
EARLIER = {
    "Qwen3-1.7B": {"dispatches": 458, "bindGroups": 458, "writes": 469, "passes": 458, "submits": 1},
    "Llama-3.2-1B": {"dispatches": 164},
    "Qwen2.5-Math-1.5B": {"dispatches": 284},
}
"""Of a latent step in version 0.1.0; of two agents nobody counted more than dispatches."""
NAMES = {"qwen3": "Qwen3-1.7B", "llama": "Llama-3.2-1B", "qwen2": "Qwen2.5-Math-1.5B"}


def main() -> None:
    """Prints the tables and writes `docs/evidence/bench-calls.json`."""
    console = Console()
    results = {"positions": {name: positions(load_system(f"systems/{name}.yaml")) for name in _kept_systems()}}
    _show(console, "prompt positions of a run, question of 300 tokens", results["positions"])
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        trio = build_trio(Path(scratch))
        harness = build_harness(Path(scratch, "harness"))
        ways = {"as the runtime calls": (trio, False), "merged": (trio, True)}
        if find_mlc() is None:
            console.print(
                "Set MLC_LLM_SOURCE_DIR to a clone of mlc-ai/mlc-llm to count the calls of WebLLM's libraries."
            )
        else:
            ways[PEER] = (build_trio(Path(scratch, "mlc"), "mlc"), False)
        for name, (system, few_calls) in ways.items():
            results[name] = count_calls(harness, system, few_calls)
            earlier = {f"{agent}, 0.1.0": EARLIER[agent] for agent in results[name]} if name == "merged" else {}
            _show(console, f"calls of a latent step and of a decoded token, {name}", results[name] | earlier)
    report = {
        "command": "python -m bench calls",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm")},
        "version_0_1_0": EARLIER,
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def _kept_systems() -> list[str]:
    return ["sequential-light", "sequential-scaled", "mixture", "distillation", "deliberation"]


def _show(console: Console, title: str, rows: dict[str, dict[str, Any]]) -> None:
    table = Table(title, *rows, title_justify="left")
    for counted in next(iter(rows.values())):
        figures = (row.get(counted) for row in rows.values())
        table.add_row(counted, *("" if each is None else f"{each:,.1f}".removesuffix(".0") for each in figures))
    console.print(table)


def count_calls(
    harness: Path, system: Path, few_calls: bool, agents: Sequence[str] = tuple(CONFIGS)
) -> dict[str, dict[str, float]]:
    """Counts of a latent step and of a decoded token, by the agent's name.

    Args:
        harness: From `build_harness`.
        system: From `build_trio`.
        few_calls: Whether the layer that merges calls is on.
        agents: Ids of those that are counted.
    """
    with open_engine(harness, system.parent, idle=True) as engine:
        engine.load(system, fewCalls=few_calls)
        return {NAMES[agent]: calls_of_a_step(engine, agent) | calls_of_a_token(engine, agent) for agent in agents}


def build_trio(folder: Path, backend: str = "auto", agents: Sequence[str] = tuple(CONFIGS)) -> Path:
    """Builds a system of the agents; returns its folder.

    Args:
        folder: Gets checkpoints and system.
        backend: `mlc` for MLC-LLM's graphs and TVM's kernels, which WebLLM's libraries are made of.
        agents: Ids of those in it.
    """
    configs = {agent: CONFIGS[agent] for agent in agents}
    for agent, config in configs.items():
        write_random_checkpoint(folder / agent, config, dtype="float32", seed=0)
    system = {
        "version": 1,
        "name": "trio",
        "pattern": "graph",
        "rounds": 1,
        "latent_steps": FEW,
        "agents": [{"id": agent, "role": agent, "model": agent, "prompt": "{question}"} for agent in agents],
        "edges": [],
        "decoding": {"max_new_tokens": 1},
    }
    (folder / "trio.yaml").write_text(yaml.safe_dump(system, sort_keys=False), encoding="utf-8")
    sizes = {agent: config["hidden_size"] for agent, config in configs.items()}
    links = Links.create(sizes, {}, "ln_res", 8, 8)
    links.to_file("trio", {}).save(folder / "links.json")
    build_system(folder / "trio.yaml", folder / "links.json", folder / "dist/trio", CompileOptions("q4f16_1", backend))
    return folder / "dist/trio"


def calls_of_a_step(engine: EngineNode, agent: str) -> dict[str, float]:
    """Counts of a latent step of one agent, which thinks alone."""
    found = _differences(engine, agent, [{"latentSteps": steps} for steps in (FEW, MANY)])
    return {name: value / (MANY - FEW) for name, value in found.items()}


def calls_of_a_token(engine: EngineNode, agent: str) -> dict[str, float]:
    """Counts of a token that is picked greedily and fed back; the device that does nothing picks token 0."""
    found = _differences(
        engine,
        agent,
        [{"latentSteps": 1, "decoding": {"maxNewTokens": tokens, "temperature": 0}} for tokens in (FEW, MANY)],
    )
    return {f"token: {name}": value / (MANY - FEW) for name, value in found.items()}


def _differences(engine: EngineNode, agent: str, few_and_many: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What a run with the second options counts beyond one with the first."""
    counts = []
    for options in [*few_and_many] * WARM:
        before = engine.counters()
        engine.run("a", mode="loop", order=[agent], rounds=1, **options)
        after = engine.counters()
        counts.append({name: after[name] - before[name] for name in COUNTED})
    few, many = counts[-2:]
    return {name: many[name] - few[name] for name in COUNTED}


def positions(system: System) -> dict[str, float]:
    """Positions of a latent run with the system's own rounds, and how many of them are kept."""
    prompt = kept = others = 0
    for number, agent in itertools.product(range(system.rounds), system.agents):
        first, now = (_pieces(agent.prompt_for(each)) for each in (0, number))
        length = prompt_length(system, agent, number)
        prompt += length
        others += _steps(system, agent.id) - 1
        if number and isinstance(first[0], list) and isinstance(now[0], list):
            same = [one == other for one, other in zip(first[0], now[0], strict=False)]
            kept += min((*same, False).index(False), length - 1)
    return {
        "prompts": prompt,
        "of them kept": kept,
        "% fewer prompt positions": 100 * kept / prompt,
        "% fewer positions with latent steps": 100 * kept / (prompt + others),
    }


def _steps(system: System, agent: str) -> int:
    own = next(each.latent_steps for each in system.agents if each.id == agent)
    return own or system.latent_steps


def prompt_length(system: System, agent: Agent, number: int) -> int:
    """Positions of an agent's prompt in a round, counted from 0."""
    carried = {edge.id: _steps(system, edge.source) for edge in system.edges}
    feedback = {edge.id for edge in system.edges if edge.feedback}
    pieces = _pieces(agent.prompt_for(number))
    rows = sum(carried[piece] for piece in pieces if isinstance(piece, str) and (number or piece not in feedback))
    return rows + sum(len(piece) for piece in pieces if not isinstance(piece, str))


def _pieces(template: str) -> list[list[str] | str]:
    """The tokens of each run of text, and the edge of each slot, for a question of `QUESTION_TOKENS`."""
    question = " ".join(["word"] * QUESTION_TOKENS)
    filled: tuple[Text | Latent, ...] = fill(parse_template(template), {"question": question})
    return [re.findall(r"\w+|[^\w\s]", each.text) if isinstance(each, Text) else each.edge for each in filled]


if __name__ == "__main__":
    main()
