"""Outer loop: cross-entropy of the final answer through all rounds, agents frozen.

Source: arXiv 2604.25917, outer loop. Deviation: the gradient that arrives at a hand-off is clipped for each sample,
because the way back through rounds multiplies norms (docs/training-log.md). Shape letters: B batch, L tokens of the
longest answer, M latent steps, D hidden size, V vocabulary.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.prompt import Text, fill
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Opening, Recursion, round_number
from recursivemas.training.rollout import extend, logits

IGNORED = -100


def answer_ids(agent: LoadedAgent, before: str, answer: str) -> list[int]:
    """The tokens of an answer as the agent would write them after a text.

    A space goes between them, unless the text ends with white space, an opening bracket or quote, or a special token.

    Args:
        agent: The deciding agent.
        before: The text that the agent has read last.
        answer: Without outer white space.
    """
    read = agent.token_ids(before) if before else []
    joined = (
        not read or before[-1].isspace() or before[-1] in "([{<\"'`$" or read[-1] in agent.tokenizer.all_special_ids
    )
    spaced = answer if joined or not answer else f" {answer}"
    ids = agent.token_ids(before + spaced)
    # Some tokenizers read the start of a text in another way, so the answer is read in its place if that is possible.
    return ids[len(read) :] if ids[: len(read)] == read else agent.token_ids(spaced)


def text_before_answer(recursion: Recursion, round_index: int) -> str:
    """The answer prefix, else the text that ends the deciding agent's prompt; empty if a hand-off ends it."""
    prefix = recursion.system.decoding.answer_prefix
    *_, last = fill(recursion.deciding.segments(round_index), "?")
    return prefix or (last.text if isinstance(last, Text) else "")


def answer_loss(agent: LoadedAgent, opening: Opening, answers: Sequence[str], before: str = "") -> Tensor:
    """Mean cross-entropy of the answers' tokens and the stop token after them.

    Args:
        agent: The deciding agent.
        opening: The agent just before the answer; its context is extended.
        answers: B texts.
        before: The text that the agent has read last.
    """
    stop = [] if agent.closing_token is None else [agent.closing_token]
    rows = [torch.tensor([*answer_ids(agent, before, answer), *stop], device=agent.device) for answer in answers]
    labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)  # (B, L)
    hidden = opening.hidden[:, None]  # (B, 1, D), which predicts the first token
    if labels.shape[1] > 1:
        fed = labels[:, :-1]  # (B, L - 1): the last token is predicted, never fed
        valid = None if bool((labels[:, 1:] != IGNORED).all()) else fed != IGNORED
        later = extend(agent, opening.context, agent.embed(fed.clamp(min=0)), valid)  # (B, L - 1, D)
        hidden = torch.cat([hidden, later], dim=1)
    scores = logits(agent, hidden)  # (B, L, V)
    return functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class GradientWatch:
    """Records and clips the gradient of every hand-off; a `Recursion` hook.

    Attributes:
        norms: By (edge id, round), the root mean square over samples of the gradient's norm before clipping, times B.
    """

    def __init__(self, clip: float) -> None:
        self.clip = clip
        self.norms: dict[tuple[str, int], float] = {}

    def __call__(self, edge: str, round_index: int, value: Tensor) -> Tensor:
        """Watches one hand-off (B, M, D)."""
        if value.requires_grad:
            # torch leaves this method without types.
            value.register_hook(functools.partial(self._clip, edge, round_index))  # type: ignore[no-untyped-call]
        return value

    def _clip(self, edge: str, round_index: int, gradient: Tensor) -> Tensor:
        """The gradient (B, M, D) with each sample's norm clipped to `clip` / B; 0 does not clip."""
        norms = gradient.float().flatten(1).norm(dim=1)  # (B,)
        batch = len(norms)
        self.norms[(edge, round_index)] = float(norms.square().mean().sqrt()) * batch
        if self.clip == 0:
            return gradient
        scale: Tensor = (self.clip / batch / norms.clamp(min=1e-12)).clamp(max=1.0)  # (B,)
        return gradient * scale[:, None, None].to(gradient.dtype)

    def figures(self) -> dict[str, float]:
        """The norms for the log: `handoff_gradient/<edge>/<round>`, rounds counted from 1."""
        return {
            f"handoff_gradient/{edge}/{round_number(index)}": norm for (edge, index), norm in sorted(self.norms.items())
        }


def outer_loss(
    recursion: Recursion,
    questions: Sequence[str],
    answers: Sequence[str],
    rounds: int,
    latent_steps: int,
    every_round: bool = False,
    checkpointing: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch; if every round is supervised, the mean over rounds.

    Returns:
        The loss, and for the log the loss of each scored round as `loss_round/<round>`, counted from 1.
    """
    losses: dict[int, Tensor] = {}
    for opening in recursion.unroll(questions, rounds, latent_steps, every_round, checkpointing):
        losses[opening.round] = answer_loss(
            recursion.deciding, opening, answers, text_before_answer(recursion, opening.round)
        )
    figures = {f"loss_round/{round_number(index)}": loss.item() for index, loss in losses.items()}
    return torch.stack(list(losses.values())).mean(), figures
