"""Outer loop: cross-entropy of the final answer through all rounds, agents frozen.

Source: arXiv 2604.25917, outer loop. Deviations: the gradient that arrives at a hand-off is clipped for each sample,
because the way back through rounds multiplies norms (docs/training-log.md), and earlier rounds may be scored, too.
Shape letters: B batch, L tokens of the longest answer, N tokens of all answers, M latent steps, D hidden size, V
vocabulary.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Text
from recursivemas.system.questions import Asked, QuestionRecord
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Opening, Recursion, Unrolled, round_number
from recursivemas.training.rollout import extend, logits
from recursivemas.training.train.columns import column

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


def text_before_answer(recursion: Recursion, round_index: int, question: Asked = "?") -> str:
    """The answer prefix, else the text that ends the deciding agent's prompt; empty if a hand-off ends it."""
    if prefix := recursion.system.decoding.answer_prefix:
        return prefix
    *_, last = recursion.deciding.filled(round_index, question)
    return last.text if isinstance(last, Text) else ""


def answer_rows(agent: LoadedAgent, answers: Sequence[str], before: Sequence[str]) -> list[list[int]]:
    """The tokens of each answer and the stop token after them; `before` are the texts that the agent has read last."""
    stop = [] if agent.closing_token is None else [agent.closing_token]
    return [[*answer_ids(agent, text, answer), *stop] for text, answer in zip(before, answers, strict=True)]


def answer_labels(recursion: Recursion, records: Sequence[QuestionRecord], round_index: int) -> Tensor:
    """(B, L) ids of the answers and the stop token, `IGNORED` after them, on the CPU."""
    before = [text_before_answer(recursion, round_index, record) for record in records]
    rows = answer_rows(recursion.deciding, [record.answer for record in records], before)
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=IGNORED)


def answer_losses(agent: LoadedAgent, opening: Opening, answers: Sequence[str], before: Sequence[str] = ()) -> Tensor:
    """Cross-entropy of each answer's tokens and the stop token after them.

    Args:
        agent: The deciding agent.
        opening: The agent just before the answer; its context is extended.
        answers: B texts.
        before: B texts that the agent has read last; nothing by default.

    Returns:
        (B,) sums over tokens, divided by the mean number of tokens of an answer; so their mean is the mean over tokens.
    """
    ids = answer_rows(agent, answers, before or [""] * len(answers))
    rows = [torch.tensor(row, device=agent.device) for row in ids]
    labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)  # (B, L)
    hidden = opening.hidden[:, None]  # (B, 1, D), which predicts the first token
    if labels.shape[1] > 1:
        fed = labels[:, :-1]  # (B, L - 1): the last token is predicted, never fed
        valid = None if len({len(row) for row in rows}) == 1 else fed != IGNORED
        later = extend(agent, opening.context, agent.embed(fed.clamp(min=0)), valid)  # (B, L - 1, D)
        hidden = torch.cat([hidden, later], dim=1)
    counted = labels != IGNORED  # (B, L)
    # The vocabulary is computed where a token counts, and for a matrix: a 3-d slice would copy it once a row.
    scores = logits(agent, hidden[counted])  # (N, V)
    losses = functional.cross_entropy(scores, labels[counted], reduction="none")  # (N,)
    owners = counted.nonzero()[:, 0]  # (N,) the answer that each token belongs to
    sums = torch.zeros(len(rows), device=losses.device).index_add(0, owners, losses)
    return sums * (len(rows) / len(owners))


def answer_loss(agent: LoadedAgent, opening: Opening, answers: Sequence[str], before: Sequence[str] = ()) -> Tensor:
    """Mean cross-entropy of the answers' tokens and the stop token after them; arguments as of `answer_losses`."""
    return answer_losses(agent, opening, answers, before).mean()


class GradientWatch:
    """Records and clips the gradient of every hand-off; a `Recursion` hook.

    Attributes:
        norms: By (edge id, round), the root mean square over samples of the gradient's norm before clipping, times B.
    """

    def __init__(self, clip: float) -> None:
        self.clip = clip
        self.norms: dict[tuple[str, int], Tensor] = {}

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
        self.norms[(edge, round_index)] = norms.square().mean().sqrt() * batch
        if self.clip == 0:
            return gradient
        scale: Tensor = (self.clip / batch / norms.clamp(min=1e-12)).clamp(max=1.0)  # (B,)
        return gradient * scale[:, None, None].to(gradient.dtype)

    def figures(self) -> dict[str, float]:
        """The norms for the log: `handoff_gradient/<edge>/<round>`, rounds counted from 1."""
        return {
            f"handoff_gradient/{edge}/{round_number(index)}": float(norm)
            for (edge, index), norm in sorted(self.norms.items())
        }


def first_answerable(records: Sequence[QuestionRecord], name: str | None) -> list[int]:
    """The first round, counted from 0, that can answer each question, from a column of this name; 0 without one.

    Raises:
        InputError: When a question lacks the column, or it holds no round.
    """
    if name is None:
        return [0] * len(records)
    rounds = []
    for record in records:
        value = column(record, name)
        if value is None or not value.isdecimal() or int(value) < 1:
            raise InputError(
                f"training.outer.answerable_field: expected the first round that can answer, counted from 1, in column "
                f"{name!r} of every question, got {value!r} for {record.question!r}"
            )
        rounds.append(int(value) - 1)
    return rounds


def outer_loss(
    recursion: Recursion,
    questions: Sequence[Asked],
    answers: Sequence[str],
    rounds: int,
    latent_steps: int,
    every_round: bool = False,
    checkpointing: bool = False,
    early_weight: float = 0.0,
    answerable: Sequence[int] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch: that of the last round, and with a weight those of earlier rounds that can answer.

    Args:
        recursion: The system.
        questions: B questions.
        answers: B right answers.
        rounds: R.
        latent_steps: M.
        every_round: Whether the loss is the mean over all rounds instead.
        checkpointing: Recompute turns in the backward pass.
        early_weight: Weight of each round before the last one.
        answerable: (B,) the first round, counted from 0, that can answer each question; 0 by default.

    Returns:
        The loss, and for the log the loss of each scored round as `loss_round/<round>`, counted from 1.
    """
    losses: dict[int, Tensor] = {}  # by round, (B,)
    scored = every_round or early_weight > 0
    # A round that can answer none of the questions opens no answer.
    first = 0 if every_round else min(answerable or [0])
    asked = Unrolled(questions, rounds, latent_steps, scored, checkpointing, opens_from=first)
    for opening in recursion.openings(asked):
        before = [text_before_answer(recursion, opening.round, question) for question in questions]
        losses[opening.round] = answer_losses(recursion.deciding, opening, answers, before)
    figures = {f"loss_round/{round_number(index)}": loss.mean().item() for index, loss in losses.items()}
    if every_round:
        return torch.stack(list(losses.values())).mean(), figures
    total = losses.pop(rounds - 1).mean()
    if losses:
        ready = torch.tensor(answerable or [0] * len(questions), device=total.device)  # (B,)
        total = total + early_weight * sum((loss * (ready <= index)).mean() for index, loss in losses.items())
    return total, figures
