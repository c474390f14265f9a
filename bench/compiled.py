"""What `torch.compile` does for a training step and for a latent rollout on this processor.

Every kind runs in a process of its own on one thread, with an empty cache of compiled code. `eager` is training as it
is. `layers` compiles every decoder layer of every agent. It ends a graph where a layer uses the cache, because that
writes into memory which earlier steps share, and compiled code serves all lengths. Time is CPU time of the process and
of its compilers, because other processes disturb it least.
"""

import importlib.metadata
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recursivemas.system.files import write_text_atomic

KINDS = ("eager", "layers")
QUESTIONS = {"hop-sequential": 16, "townsfolk": 2}
"""Systems, and how many questions a training step of each has: of tiny agents, and of SmolLM2-135M."""
PROMPT, STEPS, REPEATS = 64, 16, 3
EVIDENCE = Path("docs/evidence/bench-compiled.json")


def main() -> None:
    """Prints the table and writes `docs/evidence/bench-compiled.json`, a row as soon as it is measured.

    Compiling takes minutes, so rows that the file has of the same versions are not measured again.
    """
    console = Console()
    about = {
        "command": "python -m bench compiled",
        "seed": 0,
        "questions_of_a_training_step": QUESTIONS,
        "rollout": {"prompt_tokens": PROMPT, "latent_steps": STEPS, "batch": 1},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    }
    before = json.loads(EVIDENCE.read_text("utf-8")) if EVIDENCE.is_file() else {}
    known = before.get("systems", {}) if about.items() <= before.items() else {}
    systems: dict[str, dict[str, Any]] = {name: known.get(name, {}) for name in QUESTIONS}
    for kind, name in itertools.product(KINDS, QUESTIONS):
        if kind not in systems[name]:
            systems[name][kind] = in_a_process(name, kind)
            write_text_atomic(EVIDENCE, json.dumps({**about, "systems": systems}, indent=1) + "\n")
    for name, kinds in systems.items():
        table = Table(f"{name}, CPU seconds", *next(iter(kinds.values())), title_justify="left")
        for kind, row in kinds.items():
            table.add_row(kind, *(f"{value:.4g}" for value in row.values()))
        console.print(table)
    console.print(f"written to {EVIDENCE}")


def in_a_process(name: str, kind: str) -> dict[str, float]:
    """`measure` in a process of its own, which finds no code that was compiled before."""
    print(f"measuring {name}, {kind}")
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "bench.compiled", name, kind],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": scratch, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        )
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(name: str, kind: str) -> dict[str, float]:
    """A training step of a system, and a rollout of its deciding agent.

    Returns:
        CPU seconds of a step and of a rollout, the best of several; those of the first step and rollout above that,
        which compiling took; the loss, and the norm of the links' gradient.
    """
    import torch

    from bench._shipped import ROOT
    from recursivemas.system.links_file import load_links
    from recursivemas.system.questions import load_questions
    from recursivemas.system.system import load_system
    from recursivemas.training.loading import load_recursion
    from recursivemas.training.rollout import begin, think
    from recursivemas.training.train.outer_loop import outer_loss
    from recursivemas.training.train.prefix import PrefixRecursion

    torch.set_num_threads(1)
    torch.manual_seed(0)
    system = load_system(ROOT / "systems" / f"{name}.yaml")
    assert system.task is not None and system.task.data is not None
    records = load_questions(system.task.data)[: QUESTIONS[name]]
    loaded = load_recursion(system, load_links(ROOT / "systems/links" / f"{name}.recursivelink.json"))
    assert loaded.links is not None
    links = loaded.links.requires_grad_(True)
    recursion, agent = PrefixRecursion(system, loaded.agents, links), loaded.deciding
    if kind == "layers":
        compile_layers({id(each.model): each.model for each in loaded.agents.values()}.values())
    answers, losses = [record.answer for record in records], []
    prompts = [agent.embed(torch.arange(PROMPT) % len(agent.embedding_table))]

    def step() -> None:
        links.zero_grad(set_to_none=True)
        loss, _ = outer_loss(recursion, records, answers, system.rounds, system.latent_steps)
        torch.autograd.backward(loss)
        losses.append(loss.item())

    def rollout() -> None:
        with torch.no_grad():
            think(agent, recursion.inner(agent), *begin(agent, prompts, STEPS), STEPS)

    rows = {what: seconds(work) for what, work in (("step", step), ("rollout", rollout))}
    gradients = [each.grad.flatten() for each in links.parameters() if each.grad is not None]
    return {
        "load average": os.getloadavg()[0],
        "a training step": rows["step"][1],
        "a rollout": rows["rollout"][1],
        "compiling": sum(first - best for first, best in rows.values()) if kind != "eager" else 0.0,
        "loss": losses[-1],
        "gradient norm": float(torch.cat(gradients).norm()),
    }


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of doing something for the first time, and the least of several more times."""
    spent = []
    for _ in range(1 + REPEATS):
        began = cpu_seconds()
        work()
        spent.append(cpu_seconds() - began)
    return spent[0], min(spent[1:])


def cpu_seconds() -> float:
    """CPU time of this process, and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compile_layers(models: Iterable[Any]) -> None:
    """Compiles every decoder layer of models of transformers in place."""
    import torch
    import torch._dynamo.config

    from recursivemas.training.caches import GrowingLayer

    torch._dynamo.config.cache_size_limit = 64
    # A layer's number then needs no code of its own. Where transformers' cache looks a layer up by it, it still does.
    torch._dynamo.config.allow_unspec_int_on_nn_module = True
    # torch leaves this without types.
    GrowingLayer.update = torch.compiler.disable(GrowingLayer.update)  # type: ignore[method-assign,no-untyped-call]
    for layer in itertools.chain.from_iterable(model.base_model.layers for model in models):
        layer.compile(dynamic=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
    else:
        main()
