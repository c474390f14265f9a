"""Makes the tiny agents: `python -m recursivemas.training.tiny --out systems/agents [--agent planner]`."""

import argparse
from pathlib import Path

import torch
import transformers

from recursivemas.training.tasks import drift, fare, hop, townsfolk
from recursivemas.training.tiny.lessons import Pretraining, chain_accuracy, pretrain
from recursivemas.training.tiny.models import SPECS, AgentSpec, build_model, build_tokenizer, save_agent


def make_agent(spec: AgentSpec, out: Path, settings: Pretraining) -> float:
    """Makes one agent's folder `out/<name>`; returns its accuracy per thought after rounding to float16."""
    words = {"hop": hop, "drift": drift, "fare": fare, "townsfolk": townsfolk}[spec.task].words()
    tokenizer = build_tokenizer(words, hop.SPECIALS, spec.seed)
    vocabulary = tokenizer.get_vocab()
    model = build_model(spec, len(vocabulary), vocabulary["<bos>"], vocabulary["<eos>"])
    losses = pretrain(spec, model, vocabulary, settings)
    accuracy = chain_accuracy(spec, model.half().float().eval(), vocabulary, seed=spec.seed + 3)
    provenance = {
        "command": f"python -m recursivemas.training.tiny --out systems/agents --agent {spec.name}",
        "seed": spec.seed,
        "steps": settings.steps,
        "losses": losses,
        "task": spec.task,
        "chain_accuracy": accuracy,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    save_agent(out / spec.name, model, tokenizer, provenance)
    return accuracy


def main() -> None:
    """Makes every agent, or those named."""
    parser = argparse.ArgumentParser(
        prog="python -m recursivemas.training.tiny", description="Make the tiny agents from their seeds."
    )
    parser.add_argument("--out", type=Path, required=True, help="Folder that gets a folder for each agent.")
    parser.add_argument("--agent", choices=[spec.name for spec in SPECS], action="append", help="Repeat for several.")
    parser.add_argument("--steps", type=int, default=Pretraining.steps, help="Optimizer steps for each agent.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for spec in SPECS:
        if arguments.agent is None or spec.name in arguments.agent:
            accuracy = make_agent(spec, arguments.out, Pretraining(steps=arguments.steps))
            print(f"{spec.name}: {accuracy:.4f} of thoughts right")


if __name__ == "__main__":
    main()
