"""Counts what a latent step asks of the GPU device, and the prompt positions that a run computes twice.

The agents have the graphs of the paper's Sequential-Light trio, all layers and heads of them, but narrow matrices: the
kernels of a step are the same, and so are the calls. The engine runs in Node on a device that does nothing
(`harness/idle-gpu.mjs`). Calls are counted where that device is called, with and without the layer that merges them
(`web/src/engine/few-calls.ts`).

Positions are those of the prompts of `systems/*.yaml` by rule 3 of docs/recursion.md, for a question of 300 tokens. A
word or a sign counts as a token, and what a chat template adds is left out; both change the figures little.
"""

import importlib.metadata
import itertools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from harness.engine_node import EngineNode, open_engine
from harness.engine_page import build_harness
from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.release.package import build_system
from recursivemas.system.files import write_text_atomic
from recursivemas.system.prompt import Latent, Text, fill, parse_template
from recursivemas.system.system import System, load_system
from recursivemas.training.links import Links

EVIDENCE = Path("docs/evidence/bench-calls.json")
FEW, MANY = 2, 18  # latent steps; the difference of their counts is that of the steps alone
WARM = 4  # the first runs create what later ones have
COUNTED = ("dispatches", "bindGroups", "writes", "passes", "submits")
QUESTION_TOKENS = 300

_NARROW = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 320, "max_position_embeddings": 256}
_COMMON = {**_NARROW, "hidden_act": "silu", "tie_word_embeddings": True, "rms_norm_eps": 1e-6}
AGENTS: dict[str, dict[str, Any]] = {
    "qwen3": {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
    "qwen2": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
}
NAMES = {"qwen3": "Qwen3-1.7B", "llama": "Llama-3.2-1B", "qwen2": "Qwen2.5-Math-1.5B"}


def main() -> None:
    """Prints the tables and writes `docs/evidence/bench-calls.json`."""
    console = Console()
    results = {"positions": {name: positions(load_system(f"systems/{name}.yaml")) for name in _kept_systems()}}
    _show(console, "prompt positions of a run, question of 300 tokens", results["positions"])
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        trio = build_trio(Path(scratch))
        harness = build_harness(Path(scratch, "harness"))
        for few_calls, name in ((False, "as the runtime calls"), (True, "merged")):
            with open_engine(harness, trio.parent, idle=True) as engine:
                engine.load(trio, fewCalls=few_calls)
                results[name] = {NAMES[agent]: calls_of_a_step(engine, agent) for agent in AGENTS}
            _show(console, f"calls of a latent step, {name}", results[name])
    report = {
        "command": "python -m bench calls",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm")},
        "results": results,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def _kept_systems() -> list[str]:
    return ["sequential-light", "sequential-scaled", "mixture", "distillation", "deliberation"]


def _show(console: Console, title: str, rows: dict[str, dict[str, Any]]) -> None:
    table = Table(title, *next(iter(rows.values())), title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:,.1f}".removesuffix(".0") for value in row.values()))
    console.print(table)


def build_trio(folder: Path) -> Path:
    """Builds a system of the three agents; returns its folder."""
    for agent, config in AGENTS.items():
        write_random_checkpoint(folder / agent, {**_COMMON, **config}, dtype="float32", seed=0)
    system = {
        "version": 1,
        "name": "trio",
        "pattern": "graph",
        "rounds": 1,
        "latent_steps": FEW,
        "agents": [{"id": agent, "role": agent, "model": agent, "prompt": "{question}"} for agent in AGENTS],
        "edges": [],
        "decoding": {"max_new_tokens": 1},
    }
    (folder / "trio.yaml").write_text(yaml.safe_dump(system, sort_keys=False), encoding="utf-8")
    links = Links.create(dict.fromkeys(AGENTS, _NARROW["hidden_size"]), {}, "ln_res", 8, 8)
    links.to_file("trio", {}).save(folder / "links.json")
    build_system(folder / "trio.yaml", folder / "links.json", folder / "dist/trio", CompileOptions("q4f16_1"))
    return folder / "dist/trio"


def calls_of_a_step(engine: EngineNode, agent: str) -> dict[str, float]:
    """Counts of a latent step of one agent, which thinks alone."""
    counts = []
    for steps in (FEW, MANY) * WARM:
        before = engine.counters()
        engine.run("a", mode="loop", order=[agent], rounds=1, latentSteps=steps)
        after = engine.counters()
        counts.append({name: after[name] - before[name] for name in COUNTED})
    few, many = counts[-2:]
    return {name: (many[name] - few[name]) / (MANY - FEW) for name in COUNTED}


def positions(system: System) -> dict[str, float]:
    """Positions of a latent run with the system's own rounds, and how many of them are kept."""
    question = " ".join(["word"] * QUESTION_TOKENS)
    carried = {edge.id: _steps(system, edge.source) for edge in system.edges}
    feedback = {edge.id for edge in system.edges if edge.feedback}
    prompt = kept = others = 0
    for number, agent in itertools.product(range(system.rounds), system.agents):
        first, now = (_pieces(each, question) for each in (agent.prompt_for(0), agent.prompt_for(number)))
        rows = sum(carried[piece] for piece in now if isinstance(piece, str) and (number or piece not in feedback))
        length = rows + sum(len(piece) for piece in now if not isinstance(piece, str))
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


def _pieces(template: str, question: str) -> list[list[str] | str]:
    """The tokens of each run of text, and the edge of each slot."""
    filled: tuple[Text | Latent, ...] = fill(parse_template(template), {"question": question})
    return [re.findall(r"\w+|[^\w\s]", each.text) if isinstance(each, Text) else each.edge for each in filled]


if __name__ == "__main__":
    main()
