"""Control: trained vectors in place of hand-offs, the same for every question.

They show how much of what links learn is not about the question. The deciding agent's slots hold them in every round,
so no other agent has a say in its answer. Shape letters: B batch, M latent steps, D the deciding agent's hidden size.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from recursivemas.system.files import atomic_file
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import HandOffHook, Opening, Unrolled, steps_of
from recursivemas.training.train.inner_loop import embedding_scale
from recursivemas.training.train.prefix import PrefixRecursion

FILE = "soft_prompts.safetensors"


class SoftPrompts(nn.Module):
    """Vectors (M, D) for every edge that arrives at the deciding agent, drawn at the scale of its embeddings."""

    def __init__(self, system: System, deciding: LoadedAgent) -> None:
        super().__init__()
        incoming = system.incoming(system.deciding_agent.id)
        self.edges = [edge.id for edge in incoming]
        lengths = [system.agent(edge.source).latent_steps or system.default_latent_steps for edge in incoming]
        scale = embedding_scale(deciding)
        torch.manual_seed(system.training.seed)
        self.vectors = nn.ParameterList(
            nn.Parameter(torch.randn(length, deciding.hidden_size) * scale) for length in lengths
        )

    def hand_offs(self, batch: int) -> dict[str, Tensor]:
        """By edge id, (B, M, D) float32."""
        return {edge: value.expand(batch, -1, -1) for edge, value in zip(self.edges, self.vectors, strict=True)}

    def save(self, folder: Path) -> None:
        """Writes `soft_prompts.safetensors`, a tensor for each edge."""
        tensors = {edge: value.detach().cpu() for edge, value in zip(self.edges, self.vectors, strict=True)}
        with atomic_file(folder / FILE) as temporary:
            temporary.write_bytes(save(tensors))


class SoftPromptRecursion(PrefixRecursion):
    """Rounds in which nobody but the deciding agent reads, and its slots hold the vectors."""

    soft: SoftPrompts

    def openings(self, asked: Unrolled) -> Iterator[Opening]:
        """As `Recursion.openings`."""
        self.read_prefixes(asked.questions, asked.rounds)
        steps = steps_of(self.deciding, asked.latent_steps)
        thinks = steps if self.system.decoding.think_before_answer else 0
        for round_index in range(asked.rounds) if asked.every_round else (asked.rounds - 1,):
            handed = self.soft.hand_offs(len(asked.questions))
            prompts = self.prompts(self.deciding, round_index, asked.questions, handed)
            yield self.open_answer(self.deciding, prompts, thinks, round_index)


def soft_prompt_hook(folder: Path) -> HandOffHook:
    """A hook that puts the trained vectors of a folder in place of hand-offs, for a `Recursion` that is measured."""
    tensors = load_file(folder / FILE)

    def replaced(edge: str, _round: int, value: Tensor) -> Tensor:
        found = tensors.get(edge)
        return value if found is None else found.to(value).expand_as(value)

    return replaced
