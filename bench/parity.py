"""The shipped systems in the browser against PyTorch: the errors of hand-offs, and how many answers are the same.

Each system is built in each quantization that runs on the software adapter and answers the same questions in both. For
`q4f32_1`, PyTorch runs with the dequantised weights, and the answers are also compared with those of the unquantized
agents. `rmas build --measured` puts the reports into the manifest, and the model card shows them.

`python -m bench.parity NAME` measures one system.
"""

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench._shipped import EVIDENCE, Shipped, shipped, spread
from recursivemas.system.files import write_text_atomic
from recursivemas.system.system import System

QUANTIZATIONS = ("q0f32", "q4f32_1")
QUESTIONS = 20


def main(names: Sequence[str] = ()) -> None:
    """Measures every system of `systems/` whose links and agents are in the repository, or those named."""
    console = Console()
    for each in shipped(names):
        rows = [measure(each, quantization) for quantization in QUANTIZATIONS]
        table = Table("system", *rows[0])
        for row in rows:
            cells = (f"{value:.1e}" if isinstance(value, float) else str(value) for value in row.values())
            table.add_row(each.system.name, *cells)
        console.print(table)
        out = EVIDENCE / f"bench-parity-{each.system.name}.json"
        write_text_atomic(out, json.dumps(_report(each, rows), indent=1) + "\n")
        console.print(f"written to {out}")


def _report(each: Shipped, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "command": "python -m bench parity",
        "system": each.system.name,
        "links_sha256": each.links_sha256,
        "where": "headless Chromium with WebGPU on SwiftShader, against PyTorch in float32",
        "versions": {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "torch")},
        "parity": {row.pop("quantization"): row for row in [dict(row) for row in rows]},
    }


def measure(each: Shipped, quantization: str) -> dict[str, Any]:
    """One system in one quantization.

    Returns:
        `quantization`, `questions`, `hand_offs` and their `largest_relative_error`, and how many answers are the
        `same_answers` as PyTorch's with the same weights, and the `same_as_unquantized` agents'.
    """
    from harness.engine_page import build_harness, launch, open_page, serving
    from recursivemas.compiler.agent_folder import CompileOptions
    from recursivemas.release.package import build_system

    exact, same = _reference(each, "q0f32"), _reference(each, quantization)
    questions = _questions(exact.system)
    errors: list[float] = []
    agree = agree_unquantized = 0
    with tempfile.TemporaryDirectory(prefix="rmas-parity-") as scratch:
        systems = Path(scratch, "systems")
        build_system(each.path, each.links, systems / each.system.name, CompileOptions(quantization))
        with (
            launch() as browser,
            serving(build_harness(Path(scratch, "page")), systems) as url,
            open_page(browser, url) as engine,
        ):
            engine.load(f"systems/{each.system.name}/system.json")
            for question in questions:
                came = engine.run(question, trace={"handoffs": True})
                expected = same.run([question])
                errors += hand_off_errors(came, expected.turns)
                agree += came["answerTokenIds"] == expected.token_ids[0]
                agree_unquantized += came["answerTokenIds"] == exact.run([question]).token_ids[0]
    return {
        "quantization": quantization,
        "questions": len(questions),
        "hand_offs": len(errors),
        "largest_relative_error": float(f"{max(errors):.2e}"),
        "same_answers": agree,
        "same_as_unquantized": agree_unquantized,
    }


def hand_off_errors(came: dict[str, Any], turns: Sequence[Any]) -> list[float]:
    """The norm of each hand-off's difference over the norm of PyTorch's.

    Args:
        came: A result of the engine with `handoffs`.
        turns: The reference's turns.
    """
    from harness.engine_page import matrix, relative_error

    expected = {(turn.round, edge): states for turn in turns for edge, states in turn.hand_offs.items()}
    return [
        float(relative_error(matrix(each["states"]), expected[each["round"], each["edge"]][0].numpy()))
        for each in came["handoffs"]
    ]


def _reference(each: Shipped, quantization: str) -> Any:
    import torch

    from harness.tiny_models import quantize_in_place
    from recursivemas.system.links_file import load_links
    from recursivemas.training.agents import load_agents
    from recursivemas.training.links import Links
    from recursivemas.training.recursion import Recursion

    torch.set_num_threads(1)
    agents = load_agents(each.system)
    if quantization != "q0f32":
        for agent in agents.values():
            quantize_in_place(agent.model)
    return Recursion(each.system, agents, Links.from_file(load_links(each.links)))


def _questions(system: System) -> list[str]:
    from recursivemas.system.questions import load_questions

    assert system.task is not None and system.task.data is not None
    return [each.question for each in spread(load_questions(system.task.data), QUESTIONS)]


if __name__ == "__main__":
    main(sys.argv[1:])
