"""What the tiny agents are taught: one synthetic task (`tasks/`) each, before they are frozen.

Noise on the embeddings of state tokens teaches an agent to read a state that is only nearly an embedding, which is what
a latent thought is.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recursivemas.training.tasks import drift, fare, hop, townsfolk
from recursivemas.training.tasks.sequences import Batch
from recursivemas.training.tiny.models import AgentSpec
from recursivemas.training.train.optimise import Schedule

SHORTEST_RING = {"hop": 3, "drift": 4, "fare": 3}
LONGEST_RING = len(hop.SYMBOLS)
"""Rings grow from the shortest to the longest over the first half of the steps; the guide learns about none."""


@dataclass(frozen=True)
class Pretraining:
    """Steps, batch and schedule of teaching one agent the task."""

    steps: int = 2600
    batch_size: int = 64
    warmup_steps: int = 100
    scale_noise: float = 0.3
    additive_noise: float = 0.5


def draw_batch(
    spec: AgentSpec, vocabulary: Mapping[str, int], rng: np.random.Generator, batch: int, length: int
) -> Batch:
    """B sequences of an agent's task, on rings of `length` places if it has any."""
    if spec.task == "townsfolk":
        return townsfolk.pretraining_batch(rng, vocabulary, batch)
    if spec.task == "drift":
        return drift.pretraining_batch(rng, vocabulary, batch, length)
    draw = fare.pretraining_batch if spec.task == "fare" else hop.pretraining_batch
    return draw(rng, vocabulary, batch, length, spec.kind)


def noisy_embeddings(embedded: Tensor, states: Tensor, settings: Pretraining) -> Tensor:
    """Scales and shakes the embeddings of state tokens.

    Args:
        embedded: (B, T, D).
        states: (B, T) bool.
        settings: Sizes of the noise: log-scale deviation, and the largest additive noise relative to the norm.
    """
    batch, length, size = embedded.shape
    scale = torch.exp(settings.scale_noise * torch.randn(batch, length, 1))
    relative = settings.additive_noise * torch.rand(batch, length, 1)
    norm = embedded.detach().norm(dim=-1, keepdim=True) / math.sqrt(size)
    noisy = embedded * scale + torch.randn_like(embedded) * relative * norm
    return torch.where(states[..., None], noisy, embedded)


def embed_batch(embed: Any, batch: Batch) -> Tensor:
    """(B, T, D) input embeddings; mixtures where the batch has them."""
    tokens = torch.from_numpy(batch.ids)  # (B, T) or (B, T, 2)
    if batch.weights is None:
        embedded: Tensor = embed(tokens)
        return embedded
    share = torch.from_numpy(batch.weights).float()[..., None]
    mixed: Tensor = embed(tokens[..., 0]) * share + embed(tokens[..., 1]) * (1 - share)
    return mixed


def lesson_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy at the N scored positions, (N, V) logits; each token of a mixture has half of the probability."""
    tokens = torch.from_numpy(batch.ids[:, 1:][batch.scored[:, 1:]])  # (N,) or (N, 2)
    if tokens.ndim == 2:
        logits, tokens = logits.repeat_interleave(tokens.shape[1], 0), tokens.flatten()
    return functional.cross_entropy(logits, tokens)


def pretrain(
    spec: AgentSpec, model: Any, vocabulary: Mapping[str, int], settings: Pretraining, log_every: int = 200
) -> list[float]:
    """Teaches a model its task in place, on rings that grow over the first half of the steps.

    Returns:
        The loss every `log_every` steps.
    """
    rng = np.random.default_rng(spec.seed + 1)
    torch.manual_seed(spec.seed + 2)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    factor = Schedule(settings.steps, 1.0, settings.warmup_steps).rate
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    shortest = SHORTEST_RING.get(spec.task, LONGEST_RING)
    losses, began = [], time.perf_counter()
    for step in range(settings.steps):
        length = min(LONGEST_RING, shortest + round((LONGEST_RING - shortest) * 2 * step / settings.steps))
        batch = draw_batch(spec, vocabulary, rng, settings.batch_size, length)
        embedded = embed_batch(model.get_input_embeddings(), batch)
        inputs = noisy_embeddings(embedded, torch.from_numpy(batch.states), settings)
        hidden = model.model(inputs_embeds=inputs[:, :-1], use_cache=False).last_hidden_state  # (B, T - 1, D)
        loss = lesson_loss(model.lm_head(hidden[torch.from_numpy(batch.scored[:, 1:])]), batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % log_every == 0:
            losses.append(loss.item())
            print(f"{spec.name} {step + 1}/{settings.steps} loss {loss.item():.4f} {time.perf_counter() - began:.0f}s")
    return losses


@torch.no_grad()
def chain_accuracy(
    spec: AgentSpec, model: Any, vocabulary: Mapping[str, int], seed: int, batch_size: int = 512
) -> float:
    """Share of chain tokens predicted from clean embeddings on full rings; of a mixture either token is right."""
    batch = draw_batch(spec, vocabulary, np.random.default_rng(seed), batch_size, LONGEST_RING)
    inputs = embed_batch(model.get_input_embeddings(), batch)
    guesses = model(inputs_embeds=inputs[:, :-1]).logits.argmax(-1)  # (B, T - 1)
    tokens = torch.from_numpy(batch.ids)[:, 1:]  # (B, T - 1), or (B, T - 1, 2)
    right = guesses == tokens if tokens.ndim == 2 else (guesses[..., None] == tokens).any(-1)
    return float(right[torch.from_numpy(batch.states & batch.scored)[:, 1:]].float().mean())
