"""Time, memory and gradient of the cached rollout, against recomputing the sequence at every step.

`concatenating` is the same rollout with the cache of transformers, which joins all keys and values anew at every step.
Two more measurements bound what any cached rollout of the same modules can reach: `products` are its matrix products
alone, and `calls` is the whole rollout with layers so narrow that they compute next to nothing, so that what is left is
the time of starting operations. Of the cached rollout the report also has the time in the code of the cache, forward
and backward, which is all that is not PyTorch's or transformers'. Time is the CPU time of one thread, because other
processes disturb it least.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._convert_child import peak_mib
from recursivemas.system.files import write_text_atomic

if TYPE_CHECKING:
    from torch import Tensor

PROMPT, STEPS, HIDDEN, LAYERS, HEADS = 128, 48, 384, 8, 6
NARROW = 2 * HEADS
KINDS = ("cached", "concatenating", "recomputing")
BOUNDS = ("products", "calls")
BATCHES = (1, 2, 4)
EVIDENCE = Path("docs/evidence/bench-rollout.json")


def measure(kind: str, batch: int) -> dict[str, float]:
    """Forward and backward of one rollout in this process.

    Returns:
        Best of several CPU times in seconds, of them those in the code of the cache, peak memory added in MiB, and the
        norm of the link's gradient.
    """
    import torch
    import transformers
    from transformers.cache_utils import DynamicLayer

    from harness.recomputing import think_recomputing
    from recursivemas.system.system import Agent
    from recursivemas.training import caches
    from recursivemas.training.agents import LoadedAgent
    from recursivemas.training.links import InnerLink
    from recursivemas.training.rollout import begin, think

    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = NARROW if kind == "calls" else HIDDEN
    cache = Stopwatch()
    if kind == "concatenating":
        caches.GrowingLayer = DynamicLayer  # type: ignore[misc]
    elif kind == "cached":
        caches.GrowingLayer.update = cache.around(caches.GrowingLayer.update)  # type: ignore[method-assign]
        caches._Appended.backward = staticmethod(cache.around(caches._Appended.backward))  # type: ignore[method-assign]
    config = transformers.Qwen2Config(
        vocab_size=512, hidden_size=size, intermediate_size=2 * size, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS,
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config).eval().requires_grad_(False)
    declared = Agent(id="a", role="a", model="x/y", prompt="{question}")
    agent = LoadedAgent(declared, model, None, Path())
    link = InnerLink(size, size)
    prompts = list(torch.randn(batch, PROMPT, size) * 0.02)
    before = peak_mib()
    weights = torch.randn(STEPS, size)
    matrices = [each for each in model.base_model.layers.parameters() if each.ndim == 2]
    times: list[tuple[float, float]] = []
    for _ in range(2 if kind == "recomputing" else 4):
        link.zero_grad(set_to_none=True)
        cache.seconds = 0.0
        began = time.process_time()
        if kind == "products":
            with torch.no_grad():
                multiply(matrices, batch)
        else:
            if kind == "recomputing":
                thoughts = think_recomputing(agent, link, prompts, STEPS)
            else:
                first, context = begin(agent, prompts, STEPS)
                thoughts = think(agent, link, first, context, STEPS)
            torch.autograd.backward((thoughts * weights).sum())
        times.append((time.process_time() - began, cache.seconds))
    peak = peak_mib() - before
    gradients = [each.grad.flatten() for each in link.parameters() if each.grad is not None]
    norm = float(torch.cat(gradients).norm()) if gradients else 0.0
    seconds, of_cache = min(times)
    return {"cpu_seconds": seconds, "of_them_cache": of_cache, "peak_mib": peak, "gradient_norm": norm}


class Stopwatch:
    """Adds up the CPU time that functions take.

    Attributes:
        seconds: So far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls are timed; none of them calls another one that is."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            result = function(*arguments, **options)
            self.seconds += time.process_time() - began
            return result

        return timed


def multiply(matrices: "Sequence[Tensor]", batch: int) -> None:
    """The agent's matrix products in a rollout: the prompt once, every later step forward and backward."""
    import torch

    inputs = {size: torch.randn(batch * PROMPT, size) for matrix in matrices for size in matrix.shape}
    for matrix in matrices:
        torch.nn.functional.linear(inputs[matrix.shape[1]], matrix)
    for _ in range(STEPS - 1):
        for matrix in matrices:
            torch.nn.functional.linear(inputs[matrix.shape[1]][:batch], matrix)
        for matrix in reversed(matrices):
            torch.mm(inputs[matrix.shape[0]][:batch], matrix)


def in_a_process(kind: str, batch: int) -> dict[str, float]:
    """`measure` in a process of its own, with its result printed."""
    command = [sys.executable, "-m", "bench.rollout", kind, str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  batch {batch}  {kind:13} {row['cpu_seconds']:7.2f} s   {row['peak_mib']:7.0f} MiB   "
        f"gradient norm {row['gradient_norm']:.6g}"
    )
    return row


def compare(batch: int) -> dict[str, Any]:
    """Each kind's measurements, and how they compare."""
    found = {kind: in_a_process(kind, batch) for kind in (*KINDS, *BOUNDS)}
    seconds = {kind: row["cpu_seconds"] for kind, row in found.items()}
    most = seconds["recomputing"] / sum(seconds[kind] for kind in BOUNDS)
    memory = found["cached"]["peak_mib"] / found["concatenating"]["peak_mib"]
    return {
        **found,
        "times_faster": round(seconds["recomputing"] / seconds["cached"], 2),
        "times_faster_at_most": round(most, 2),
        "memory_of_concatenating": round(memory, 3),
    }


def main() -> None:
    """Measures each kind in a process of its own, prints times and peak memory, and writes them as JSON."""
    print(f"rollout, forward and backward: prompt {PROMPT}, {STEPS} latent steps, {LAYERS} layers of {HIDDEN}")
    batches = {}
    for batch in BATCHES:
        row = batches[str(batch)] = compare(batch)
        print(
            f"  batch {batch}  {row['times_faster']:.1f} times as fast as recomputing "
            f"(products and calls alone: {row['times_faster_at_most']:.1f} times); "
            f"{row['memory_of_concatenating']:.0%} of the memory of concatenating"
        )
    shape = {"prompt_tokens": PROMPT, "latent_steps": STEPS, "layers": LAYERS, "hidden_size": HIDDEN}
    report = {
        "command": "python -m bench rollout",
        "seed": 0,
        "shape": shape,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_the_end": os.getloadavg(),
        "by_batch": batches,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    print(f"written to {EVIDENCE}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
