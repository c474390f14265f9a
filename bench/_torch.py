"""Times of an agent in PyTorch, and of training through its latent rollout, on CUDA or on the processor."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from recursivemas.system.system import Agent
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.links import InnerLink
from recursivemas.training.rollout import Context, begin, extend, logits, think


@dataclass(frozen=True)
class TorchWork:
    """How much is timed.

    Attributes:
        prompt: Tokens of a prompt.
        steps: Latent steps, and tokens that are decoded.
        batch: Questions of a training step.
        repeats: How often each is timed; the median counts.
        copied_bytes: Size of the tensor that is copied.
    """

    prompt: int
    steps: int
    batch: int
    repeats: int
    copied_bytes: int


def torch_device() -> torch.device:
    """CUDA where torch has it, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What people call a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor, without CUDA"


def copy_rate(device: torch.device, work: TorchWork) -> float:
    """Bytes a second that copying a tensor reads and writes."""
    source = torch.ones(work.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * work.copied_bytes * 1000 / _ms(device, work.repeats, lambda: target.copy_(source))


def time_agent(config: Mapping[str, Any], device: torch.device, work: TorchWork) -> dict[str, Any]:
    """ms of a latent step and of a decoded token, prompt tokens and training tokens a second, all in bfloat16.

    Args:
        config: The content of `config.json`; the weights are random.
        device: Where.
        work: How much.
    """
    torch.manual_seed(0)
    with torch.device(device):
        settings = transformers.AutoConfig.for_model(**config)
        model = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
        link = InnerLink(int(config["hidden_size"]), int(config["hidden_size"]))
    declared = Agent(id="a", role="a", model="x/y", prompt="{question}")
    agent = LoadedAgent(declared, model.eval().requires_grad_(False), None, Path())
    prompts = [
        torch.randn(work.prompt, int(config["hidden_size"]), device=device, dtype=torch.bfloat16) * 0.02
        for _ in range(work.batch)
    ]
    with torch.no_grad():
        prefill_ms = _ms(device, work.repeats, lambda: begin(agent, prompts[:1]))
        steps_ms = _ms(device, work.repeats, lambda: think(agent, link, *begin(agent, prompts[:1]), work.steps))
        tokens_ms = _ms(device, work.repeats, lambda: _decode(agent, *begin(agent, prompts[:1]), work.steps))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    training_ms = _ms(device, work.repeats, lambda: _train(agent, link, prompts, work.steps))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    trained = work.batch * (work.prompt + work.steps - 1)
    return {
        "latent_step_ms": (steps_ms - prefill_ms) / (work.steps - 1),
        "decoded_token_ms": (tokens_ms - prefill_ms) / work.steps,
        "prefill_tokens_per_second": work.prompt * 1000 / prefill_ms,
        "training_tokens_per_second": trained * 1000 / training_ms,
        "training_peak_bytes": peak,
    }


def _decode(agent: LoadedAgent, hidden: torch.Tensor, context: Context, tokens: int) -> None:
    for _ in range(tokens):
        ids = logits(agent, hidden).argmax(-1)
        ids.tolist()  # a decoded token is read, to be shown
        hidden = extend(agent, context, agent.embed(ids)[:, None])[:, -1]


def _train(agent: LoadedAgent, link: InnerLink, prompts: list[torch.Tensor], steps: int) -> None:
    """A rollout forward and backward, as the outer loop does it for every turn."""
    link.zero_grad(set_to_none=True)
    with torch.no_grad():
        first, context = begin(agent, prompts, steps)
    think(agent, link, first, context, steps).float().square().mean().backward()  # type: ignore[no-untyped-call]


def _ms(device: torch.device, repeats: int, work: Callable[[], object]) -> float:
    """The median time of some work, after doing it once."""
    spent = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent[1:])
