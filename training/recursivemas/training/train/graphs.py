"""Steps of the outer loop as CUDA graphs.

A step runs some twenty small forward passes and their gradients, and a GPU waits longer for Python to start their
kernels than it computes. So rounds, loss and gradients are recorded once, with shapes that stay: prefixes are padded to
a common length, answers too. Every later step fills in its prefixes and answers and replays the record. Shape letters:
B batch, H heads, T positions, L tokens of an answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from recursivemas.system.progress import Say, silent
from recursivemas.system.questions import QuestionRecord
from recursivemas.training.caches import GrowingLayer
from recursivemas.training.recursion import Opening, Recursion, Unrolled, round_number
from recursivemas.training.rollout import Context, extend, logits
from recursivemas.training.train.optimise import Loss
from recursivemas.training.train.outer_loop import IGNORED, answer_labels
from recursivemas.training.train.prefix import Prefix, PrefixRecursion

PADDED_TO = 32
ANSWER_PADDED_TO = 4
WARM_UP = 3
"""Runs before the recording, which CUDA's libraries need to settle."""

# What makes a record reusable: rounds, batch, positions of prefixes, tokens of answers, and what follows the prefixes
Shape: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Scored:
    """Which rounds count.

    Attributes:
        every_round: The loss is the mean over all rounds.
        early_weight: Else the weight of each round before the last one.
    """

    every_round: bool
    early_weight: float


@dataclass
class _Inputs:
    """What changes from step to step, always in the same memory.

    Attributes:
        caches: By agent, the keys and values (B, H, T, D) of its prefix, layer by layer.
        valid: By agent, (B, T) which positions of it are real.
        labels: (B, L) ids of the answers, `IGNORED` after them.
        ready: (B,) the first round that can answer, counted from 0.
    """

    caches: dict[str, list[tuple[Tensor, Tensor]]]
    valid: dict[str, Tensor]
    labels: Tensor
    ready: Tensor


@dataclass
class _Record:
    """A recorded step.

    Attributes:
        inputs: Filled before it is replayed.
        loss: Its loss.
        by_round: Loss of each scored round.
        gradients: Of the trained parameters; None for those without.
        replay: Computes all of these anew.
        read: What else lies in memory that it reads.
    """

    inputs: _Inputs
    loss: Tensor
    by_round: dict[int, Tensor]
    gradients: list[Tensor | None]
    replay: Callable[[], None]
    read: list[object] = field(default_factory=list)


class Replayed(torch.autograd.Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *_parameters: Tensor) -> Tensor:
        """Keeps the gradients for the way back; gives a copy, because the next step overwrites the loss."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gives the gradients, times that of the loss."""
        (scale,) = grad_outputs
        return (None, None, *(None if each is None else each * scale for each in ctx.gradients))


class RecordedRounds:
    """The outer loop's loss, recorded as often as shapes change.

    Args:
        recursion: The system with its links; its hook must not wait for the GPU.
        parameters: Those that are trained.
        scored: Which rounds count.
        latent_steps: M.
        capture: Whether CUDA records; otherwise every step is computed again in the same way, for tests.
        say: Called if recording fails; there is no second try.
    """

    def __init__(
        self,
        recursion: PrefixRecursion,
        parameters: Sequence[torch.nn.Parameter],
        scored: Scored,
        latent_steps: int,
        capture: bool = True,
        say: Say = silent,
    ) -> None:
        self.recursion, self.parameters, self.scored = recursion, list(parameters), scored
        self.latent_steps, self.capture, self._say = latent_steps, capture, say
        self._given_up = False
        self._records: dict[Shape, _Record] = {}
        self._lengths: dict[str, int] = {}
        self._answer_length = 0

    def __call__(self, records: Sequence[QuestionRecord], rounds: int, answerable: Sequence[int]) -> Loss | None:
        """The loss of a batch and figures for the log; None if its prompts differ behind their prefixes."""
        if self._given_up:
            return None
        self.recursion.read_prefixes(records, rounds)
        behind = self._behind(rounds)
        if behind is None:
            return None
        contexts = {key: prefix.context for key, prefix in self.recursion.prefixes.items()}
        if any(context is None and self._lengths.get(key) for key, context in contexts.items()):
            return None
        layers = [layer for each in contexts.values() if each for layer in each.cache.layers]
        if not all(isinstance(layer, GrowingLayer) for layer in layers):
            return None  # a recurrent state has no room for padding that is filled in later
        labels = answer_labels(self.recursion, records, rounds - 1)
        self._grow(contexts, labels)
        shape = (rounds, len(records), tuple(sorted(self._lengths.items())), self._answer_length, behind)
        record = self._records.get(shape)
        if record is None:
            self._records.clear()  # lengths only grow, so that an older record is of no more use
            inputs = self._empty(contexts, len(records))
            self._fill(inputs, contexts, labels, answerable)
            try:
                record = self._records[shape] = self._record(inputs, records, rounds)
            except RuntimeError as error:
                self._given_up = True
                self._say(f"steps are not recorded as CUDA graphs: {str(error).splitlines()[0]}")
                return None
        else:
            self._fill(record.inputs, contexts, labels, answerable)
        record.replay()
        figures = {f"loss_round/{round_number(index)}": float(loss) for index, loss in record.by_round.items()}
        # torch leaves these without types.
        loss: Tensor = Replayed.apply(record.loss, record.gradients, *self.parameters)  # type: ignore[no-untyped-call]
        return loss, figures

    def _behind(self, rounds: int) -> Shape | None:
        """What follows every agent's prefixes, if that is the same for all questions of the batch."""
        found = []
        for key, agent in self.recursion.agents.items():
            for index in range(min(rounds, 2)):
                first, *others = self.recursion.behind_prefix(agent, index)
                if any(other != first for other in others):
                    return None
                found.append((key, index, tuple(first)))
        return tuple(found)

    def _grow(self, contexts: Mapping[str, Context | None], labels: Tensor) -> None:
        """Lengths that hold this batch, too."""
        for key, context in contexts.items():
            wanted = 0 if context is None else -(-context.length // PADDED_TO) * PADDED_TO
            self._lengths[key] = max(self._lengths.get(key, 0), wanted)
        wanted = -(-labels.shape[1] // ANSWER_PADDED_TO) * ANSWER_PADDED_TO
        self._answer_length = max(self._answer_length, wanted)

    def _empty(self, contexts: Mapping[str, Context | None], batch: int) -> _Inputs:
        device = self.recursion.deciding.device
        caches, valid = {}, {}
        for key, context in contexts.items():
            if context is not None:
                length = self._lengths[key]

                def room(tensor: Tensor, length: int = length) -> Tensor:
                    return tensor.new_zeros(batch, tensor.shape[1], length, tensor.shape[3])

                caches[key] = [(room(layer.keys), room(layer.values)) for layer in context.cache.layers]
                valid[key] = torch.zeros(batch, length, dtype=torch.bool, device=device)
        labels = torch.full((batch, self._answer_length), IGNORED, device=device)
        return _Inputs(caches, valid, labels, torch.zeros(batch, dtype=torch.long, device=device))

    def _fill(
        self, inputs: _Inputs, contexts: Mapping[str, Context | None], labels: Tensor, answerable: Sequence[int]
    ) -> None:
        """Puts a batch into the inputs: prefixes on the right of their room, behind padding."""
        for key, context in contexts.items():
            if context is None:
                continue
            for (keys, values), layer in zip(inputs.caches[key], context.cache.layers, strict=True):
                keys[:, :, -context.length :] = layer.keys
                values[:, :, -context.length :] = layer.values
            inputs.valid[key].fill_(False)
            inputs.valid[key][:, -context.length :] = True if context.valid is None else context.valid
        inputs.labels.fill_(IGNORED)
        inputs.labels[:, : labels.shape[1]] = labels
        inputs.ready.copy_(torch.tensor(answerable))

    def _record(self, inputs: _Inputs, records: Sequence[QuestionRecord], rounds: int) -> _Record:
        """Computes a step until it is settled, then records it."""
        padded: dict[str, Context] = {}
        for key, prefix in self.recursion.prefixes.items():
            if prefix.context is not None:
                for layer, (keys, values) in zip(prefix.context.cache.layers, inputs.caches[key], strict=True):
                    layer.put(keys, values)
                padded[key] = Context(prefix.context.cache, inputs.valid[key], self._lengths[key])
        result = _Record(inputs, torch.zeros(()), {}, [], lambda: None)

        def compute() -> None:
            for key, context in padded.items():
                self.recursion.prefixes[key] = Prefix(context, self.recursion.prefixes[key].lengths)
            self.recursion.forget_turn()
            loss, by_round = self._loss(inputs, records, rounds)
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            result.loss, result.by_round = loss.detach(), {key: each.detach() for key, each in by_round.items()}
            result.gradients = list(gradients)
            # The record reads these every time.
            result.read = [padded, self.recursion.embedded]

        if not self.capture:
            result.replay = compute
            return result
        result.replay = recorded(compute)
        self.recursion.forget_turn()
        return result

    def _loss(
        self, inputs: _Inputs, records: Sequence[QuestionRecord], rounds: int
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The loss, and that of each scored round, as `outer_loss` computes them."""
        scored = self.scored.every_round or self.scored.early_weight > 0
        losses: dict[int, Tensor] = {}  # by round, (B,)
        # The prefixes have been read already.
        for opening in Recursion.openings(self.recursion, Unrolled(records, rounds, self.latent_steps, scored)):
            losses[opening.round] = self._answer_losses(opening, inputs.labels)
        means = {index: loss.mean() for index, loss in losses.items()}
        if self.scored.every_round:
            return torch.stack(list(means.values())).mean(), means
        total = means[rounds - 1]
        for index, loss in losses.items():
            if index < rounds - 1:
                total = total + self.scored.early_weight * (loss * (inputs.ready <= index)).mean()
        return total, means

    def _answer_losses(self, opening: Opening, labels: Tensor) -> Tensor:
        """(B,) as `answer_losses`, of answers padded to one length."""
        agent = self.recursion.deciding
        fed = labels[:, :-1].clamp(min=0)  # (B, L - 1)
        embeds = agent.model.get_input_embeddings()(fed)
        later = extend(agent, opening.context, embeds, labels[:, :-1] != IGNORED)
        hidden = torch.cat([opening.hidden[:, None], later], dim=1)  # (B, L, D)
        scores = logits(agent, hidden.flatten(0, 1))  # (B·L, V)
        losses = functional.cross_entropy(scores, labels.flatten(), ignore_index=IGNORED, reduction="none")
        counted = (labels != IGNORED).sum()
        return losses.view(labels.shape).sum(1) * (len(labels) / counted)


def recorded(compute: Callable[[], None]) -> Callable[[], None]:
    """Records what a function does on the GPU, and returns what does it again.

    Args:
        compute: Reads and writes the same memory at every call.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.empty_cache()  # the record gets memory of its own, and as much again
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    replay: Callable[[], None] = graph.replay
    return replay
