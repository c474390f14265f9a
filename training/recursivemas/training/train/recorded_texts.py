"""Steps of an adapter's training as CUDA graphs.

With an adapter in every layer, a GPU waits much longer for Python to start its kernels than it computes. So forward and
backward pass are recorded once for each length and replayed. Shape letters: B batch, T positions, D hidden size, N
tokens that count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recursivemas.system.progress import Say, silent
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import logits
from recursivemas.training.train.graphs import Replayed, recorded
from recursivemas.training.train.optimise import Loss
from recursivemas.training.train.outer_loop import IGNORED
from recursivemas.training.train.role_texts import Lesson

PADDED_TO = 32


@dataclass(frozen=True)
class Noise:
    """What is done to the embeddings of hand-offs.

    Attributes:
        rows: (H,) text of each noisy position.
        places: (H,) its place in the text.
        scale: (H, 1) factor.
        gaussian: (H, D) what is added, relative to the embedding's norm.
    """

    rows: Tensor
    places: Tensor
    scale: Tensor
    gaussian: Tensor


@dataclass
class _Record:
    """A recorded step.

    Attributes:
        tokens: (B, T) ids, filled in before it is replayed, as are the next four.
        scale: (B, T, 1).
        gaussian: (B, T, D).
        counted: (2, N) text and place before each token that counts.
        wanted: (N,) those tokens, `IGNORED` behind them.
        loss: Its loss.
        right: How many tokens were right.
        gradients: Of the adapter's parameters.
        replay: Computes all of these anew.
        read: What else lies in memory that it reads.
    """

    tokens: Tensor
    scale: Tensor
    gaussian: Tensor
    counted: Tensor
    wanted: Tensor
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    right: Tensor = field(default_factory=lambda: torch.zeros(()))
    gradients: list[Tensor | None] = field(default_factory=list)
    replay: Callable[[], None] = lambda: None
    read: object = None


class RecordedTexts:
    """Loss and gradients of batches of role texts, recorded as often as lengths change.

    Args:
        agent: With an adapter in its model.
        parameters: The adapter's.
        completion: Tokens of the longest completion.
        capture: Whether CUDA records; otherwise every step is computed again in the same way, for tests.
        say: Called if recording fails; there is no second try.
    """

    def __init__(
        self,
        agent: LoadedAgent,
        parameters: Sequence[torch.nn.Parameter],
        completion: int,
        capture: bool = True,
        say: Say = silent,
    ) -> None:
        self.agent, self.parameters, self.completion = agent, list(parameters), completion
        self.capture, self._say = capture, say
        self._given_up = False
        self._records: dict[tuple[int, int], _Record] = {}

    def __call__(self, lessons: Sequence[Lesson], counted: Sequence[tuple[int, int]], noise: Noise) -> Loss | None:
        """The loss of a batch and its accuracy; None if it cannot be recorded.

        Args:
            lessons: B texts.
            counted: Text and place of each of its tokens that count.
            noise: On its hand-offs.
        """
        if self._given_up:
            return None
        tokens = pad_sequence([torch.tensor(each.ids) for each in lessons], batch_first=True)  # (B, T)
        shape = (len(lessons), -(-tokens.shape[1] // PADDED_TO) * PADDED_TO)
        known = self._records.get(shape)
        record = self._empty(*shape) if known is None else known
        self._fill(record, tokens, counted, noise)
        if known is None:
            try:
                self._record(record)
            except RuntimeError as error:
                self._given_up = True
                self._say(f"steps are not recorded as CUDA graphs: {str(error).splitlines()[0]}")
                return None
            self._records[shape] = record
        record.replay()
        # torch leaves this without types.
        loss: Tensor = Replayed.apply(record.loss, record.gradients, *self.parameters)  # type: ignore[no-untyped-call]
        return loss, {"accuracy": float(record.right) / len(counted)}

    def _empty(self, batch: int, length: int) -> _Record:
        device, count = self.agent.device, batch * self.completion
        return _Record(
            torch.zeros(batch, length, dtype=torch.long, device=device),
            torch.ones(batch, length, 1, device=device),
            torch.zeros(batch, length, self.agent.hidden_size, device=device),
            torch.zeros(2, count, dtype=torch.long, device=device),
            torch.full((count,), IGNORED, device=device),
        )

    def _fill(self, record: _Record, tokens: Tensor, counted: Sequence[tuple[int, int]], noise: Noise) -> None:
        record.tokens.zero_()
        record.tokens[:, : tokens.shape[1]] = tokens.to(record.tokens.device)
        rows, places = noise.rows.to(record.tokens.device), noise.places.to(record.tokens.device)
        record.scale.fill_(1.0)
        record.scale[rows, places] = noise.scale.to(record.scale)
        record.gaussian.zero_()
        record.gaussian[rows, places] = noise.gaussian.to(record.gaussian)
        where = torch.tensor(counted).T  # (2, N): text and place
        record.counted.zero_()
        record.counted[:, : len(counted)] = (where - torch.tensor([[0], [1]])).to(record.counted)
        record.wanted.fill_(IGNORED)
        record.wanted[: len(counted)] = tokens[where[0], where[1]].to(record.wanted)

    def _record(self, record: _Record) -> None:
        """Computes a step until it is settled, then records it."""
        agent = self.agent
        length = record.tokens.shape[1]
        positions = torch.arange(length, device=agent.device)[None]  # (1, T)
        # Left to itself, transformers looks at the positions to choose a mask, and waits for the GPU.
        nobody = torch.full((length, length), torch.finfo(agent.dtype).min, dtype=agent.dtype, device=agent.device)
        given = {"position_ids": positions, "attention_mask": nobody.triu(1)[None, None]}  # (1, 1, T, T)

        def compute() -> None:
            plain = agent.model.get_input_embeddings()(record.tokens)  # (B, T, D)
            noisy = plain.float() * record.scale + record.gaussian * plain.float().norm(dim=-1, keepdim=True)
            inputs = noisy.to(plain.dtype)
            hidden = agent.model.base_model(inputs_embeds=inputs, use_cache=False, **given).last_hidden_state
            scores = logits(agent, hidden[record.counted[0], record.counted[1]])  # (N, V)
            loss = functional.cross_entropy(scores, record.wanted, ignore_index=IGNORED)
            record.gradients = list(torch.autograd.grad(loss, self.parameters, allow_unused=True))
            record.loss, record.right = loss.detach(), (scores.argmax(1) == record.wanted).sum()

        if not self.capture:
            record.replay = compute
            return
        record.replay, record.read = recorded(compute), given
