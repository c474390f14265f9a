"""The rollout as the published code runs it, to test and measure the cached one against."""

from collections.abc import Sequence

import torch
import transformers
from torch import Tensor

from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import Context, Inner, extend, left_pad


def think_recomputing(agent: LoadedAgent, inner: Inner, prompts: Sequence[Tensor], steps: int) -> Tensor:
    """Latent thoughts (B, M, D), as `think` gives them, from running the whole sequence again at every step."""
    embeds, valid = left_pad(prompts)
    hidden: list[Tensor] = []
    for _ in range(steps):
        hidden.append(extend(agent, Context(transformers.DynamicCache()), embeds, valid)[:, -1])
        embeds = torch.cat([embeds, inner(hidden[-1])[:, None].to(embeds.dtype)], dim=1)
        if valid is not None:
            valid = torch.cat([valid, valid.new_ones(len(valid), 1)], dim=1)
    return torch.stack(hidden, dim=1)
