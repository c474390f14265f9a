"""Latent thoughts as people read them: the token that each would be decoded to."""

import torch

from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import logits


def lens(recursion: Recursion, agent: str, thoughts: torch.Tensor) -> list[str]:
    """The token that each latent thought (M, D) would be decoded to: the logit lens."""
    loaded = recursion.agents[agent]
    return [loaded.decode([token]) for token in logits(loaded, thoughts).argmax(-1).tolist()]
