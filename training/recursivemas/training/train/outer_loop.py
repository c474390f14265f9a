"""Outer loop: cross-entropy of the final answer through all rounds, agents frozen.

Source: arXiv 2604.25917, outer loop. Deviation: the gradient that arrives at a hand-off is clipped per sample, because
backward through rounds multiplies norms (15,000 were seen without it at a learning rate of 1e-4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Opening, Recursion
from recursivemas.training.rollout import extend, logits

IGNORED = -100


def answer_loss(agent: LoadedAgent, opening: Opening, answers: Sequence[str]) -> Tensor:
    """Mean cross-entropy of the answers' tokens and the stop token after them.

    Args:
        agent: The deciding agent.
        opening: Just before the answer; its context is extended.
        answers: B texts.
    """
    stop = [] if agent.closing_token is None else [agent.closing_token]
    rows = [torch.tensor([*agent.token_ids(answer), *stop], device=agent.device) for answer in answers]
    labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
    hidden = opening.hidden[:, None]
    if labels.shape[1] > 1:
        fed = labels[:, :-1]
        valid = None if bool((labels[:, 1:] != IGNORED).all()) else fed != IGNORED
        hidden = torch.cat([hidden, extend(agent, opening.context, agent.embed(fed.clamp(min=0)), valid)], dim=1)
    scores = logits(agent, hidden)
    return functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class GradientWatch:
    """Records and clips the gradient of every hand-off; a `Recursion` hook.

    Attributes:
        norms: Root mean square over samples of the gradient's norm before clipping, times B, by (edge id, round).
    """

    def __init__(self, clip: float) -> None:
        self.clip = clip
        self.norms: dict[tuple[str, int], float] = {}

    def __call__(self, edge: str, round_number: int, value: Tensor) -> Tensor:
        """Watches one hand-off (B, M, D)."""
        if value.requires_grad:
            value.register_hook(lambda gradient: self._clip(edge, round_number, gradient))
        return value

    def _clip(self, edge: str, round_number: int, gradient: Tensor) -> Tensor:
        norms = gradient.float().flatten(1).norm(dim=1)
        batch = len(norms)
        self.norms[(edge, round_number)] = float(norms.square().mean().sqrt()) * batch
        if self.clip == 0:
            return gradient
        scale = (self.clip / batch / norms.clamp(min=1e-12)).clamp(max=1.0)
        return gradient * scale[:, None, None].to(gradient.dtype)

    def figures(self) -> dict[str, float]:
        """What the log shows: `handoff_gradient/<edge>/<round>`."""
        return {f"handoff_gradient/{edge}/{number}": norm for (edge, number), norm in sorted(self.norms.items())}


def outer_loss(
    recursion: Recursion,
    questions: Sequence[str],
    answers: Sequence[str],
    rounds: int,
    latent_steps: int,
    every_round: bool = False,
    checkpointing: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch; with supervision of every round the mean over rounds.

    Returns:
        The loss, and the loss of each scored round as `loss_round/<n>`.
    """
    losses: dict[int, Tensor] = {}
    for opening in recursion.unroll(questions, rounds, latent_steps, every_round, checkpointing):
        losses[opening.round] = answer_loss(recursion.deciding, opening, answers)
    figures = {f"loss_round/{number}": loss.item() for number, loss in losses.items()}
    return torch.stack(list(losses.values())).mean(), figures
