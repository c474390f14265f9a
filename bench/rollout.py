"""Time, memory and gradient of the cached rollout, against recomputing the sequence at every step.

Time is the CPU time of one thread, because other processes disturb it least.
"""

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

from recursivemas.system.files import write_text_atomic

PROMPT, STEPS, HIDDEN, LAYERS = 128, 48, 384, 8
BATCHES = (1, 2, 4)
EVIDENCE = Path("docs/evidence/bench-rollout.json")


def measure(kind: str, batch: int) -> dict[str, float]:
    """Forward and backward of one rollout in this process.

    Returns:
        Best of two CPU times in seconds, peak memory added in MiB, and the norm of the link's gradient.
    """
    import torch
    import transformers

    from harness.recomputing import think_recomputing
    from recursivemas.system.system import Agent
    from recursivemas.training.agents import LoadedAgent
    from recursivemas.training.links import InnerLink
    from recursivemas.training.rollout import begin, think

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=512, hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=6, num_key_value_heads=6,
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config).eval().requires_grad_(False)
    declared = Agent(id="a", role="a", model="x/y", prompt="{question}")
    agent = LoadedAgent(declared, model, None, Path())
    link = InnerLink(HIDDEN, HIDDEN)
    prompts = list(torch.randn(batch, PROMPT, HIDDEN) * 0.02)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    weights = torch.randn(STEPS, HIDDEN)
    times = []
    for _ in range(2):
        link.zero_grad(set_to_none=True)
        began = time.process_time()
        if kind == "cached":
            first, context = begin(agent, prompts, STEPS)
            thoughts = think(agent, link, first, context, STEPS)
        else:
            thoughts = think_recomputing(agent, link, prompts, STEPS)
        (thoughts * weights).sum().backward()
        times.append(time.process_time() - began)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradient = torch.cat([p.grad.flatten() for p in link.parameters() if p.grad is not None])
    return {"cpu_seconds": min(times), "peak_mib": peak, "gradient_norm": float(gradient.norm())}


def main() -> None:
    """Measures each kind in a process of its own, prints times and peak memory, and writes them as JSON."""
    print(f"rollout, forward and backward: prompt {PROMPT}, {STEPS} latent steps, {LAYERS} layers of {HIDDEN}")
    batches = {}
    for batch in BATCHES:
        found = {}
        for kind in ("cached", "recomputing"):
            command = [sys.executable, "-m", "bench.rollout", kind, str(batch)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[kind] = row = json.loads(done.stdout.splitlines()[-1])
            print(
                f"  batch {batch}  {kind:12} {row['cpu_seconds']:7.2f} s   {row['peak_mib']:7.0f} MiB   "
                f"gradient norm {row['gradient_norm']:.6g}"
            )
        ratio = found["recomputing"]["cpu_seconds"] / found["cached"]["cpu_seconds"]
        print(f"  batch {batch}  ratio {ratio:.1f} times")
        batches[str(batch)] = {**found, "times_faster": round(ratio, 2)}
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
