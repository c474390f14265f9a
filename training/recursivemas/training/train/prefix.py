"""Rounds that read the constant beginning of every prompt once, without gradient.

What an agent reads before its first slot, such as facts and the question, is the same in every round, and no link
changes it. Its KV cache is computed once for all rounds; every turn begins with a copy of it. The hidden states are
those of the plain way, up to rounding. Shape letters: B batch, T positions, M latent steps, D hidden size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import transformers
from torch import Tensor

from recursivemas.system.prompt import Text
from recursivemas.system.questions import Asked
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.kept import common_beginning
from recursivemas.training.recursion import HandOff, Opening, Recursion, Unrolled
from recursivemas.training.rollout import Context, extend, left_pad

# A piece of a prompt: the ids of a run of text, or the edge whose hand-off stands there
Piece: TypeAlias = tuple[int, ...] | str


@dataclass(frozen=True)
class Prefix:
    """What one agent has read of its prompts.

    Attributes:
        context: T positions, without gradient; None if nothing is read in advance.
        lengths: (B,) positions of each prompt among them.
    """

    context: Context | None
    lengths: list[int]

    def fork(self, more: int = 0) -> Context:
        """A context that goes on from here, by so many positions, and leaves this one as it is."""
        if self.context is None:
            return Context(transformers.DynamicCache(), expected=more)
        return self.context.fork(more)


@dataclass(frozen=True)
class _Begun:
    """A turn's beginning, for when the same agent both answers and thinks from there.

    Attributes:
        prompt: The first of its prompts, which tells it from others.
        hidden: (B, D) h_1.
        context: What the agent has read.
    """

    prompt: Tensor
    hidden: Tensor
    context: Context


class PrefixRecursion(Recursion):
    """A recursion that serves training alone: from `read_prefixes` on, its prompts begin behind the prefix.

    Attributes:
        prefixes: By agent id, what it has read of the prompts of the present batch.
        embedded: By agent id and ids, the embeddings of the batch's texts that do not differ from question to question.
    """

    prefixes: dict[str, Prefix]
    embedded: dict[tuple[str, tuple[int, ...]], Tensor]

    def openings(self, asked: Unrolled) -> Iterator[Opening]:
        """As `Recursion.openings`, behind the prefixes."""
        self.read_prefixes(asked.questions, asked.rounds)
        yield from super().openings(asked)

    def read_prefixes(self, questions: Sequence[Asked], rounds: int) -> None:
        """Reads what the prompts of all rounds begin with; it stays until the next batch, for the backward pass."""
        # By agent and by whether it is the first round: those may have different templates
        self._pieces = {
            (key, first): rows
            for key, agent in self.agents.items()
            for first, rows in zip((True, False), _pieces(agent, questions, min(rounds, 2)), strict=False)
        }
        self.embedded = {}
        self._begun: _Begun | None = None
        self.prefixes = {key: self._prefix(agent) for key, agent in self.agents.items()}

    def prompts(
        self,
        agent: LoadedAgent,
        round_index: int,
        questions: Sequence[Asked],
        hand_offs: Mapping[str, HandOff | Sequence[Tensor]],
        alone: bool = False,
    ) -> list[Tensor]:
        """What follows the prefix in the filled prompts of a turn, as B tensors (T_b, D)."""
        rest = self.behind_prefix(agent, round_index)
        if all(row == rest[0] for row in rest[1:]) and all(isinstance(each, Tensor) for each in hand_offs.values()):
            return self._alike(agent, rest[0], hand_offs, len(rest))
        return [
            torch.cat([part for piece in row if (part := self._part(agent, piece, hand_offs, index)) is not None])
            for index, row in enumerate(rest)
        ]

    def forget_turn(self) -> None:
        """Makes the next turn read its prompt itself."""
        self._begun = None

    def behind_prefix(self, agent: LoadedAgent, round_index: int) -> list[list[Piece]]:
        """What follows the prefix in the B prompts of a turn, in pieces."""
        rows = self._pieces[(agent.agent.id, round_index == 0)]
        lengths = self.prefixes[agent.agent.id].lengths
        return [_behind(row, length) for row, length in zip(rows, lengths, strict=True)]

    def _alike(
        self, agent: LoadedAgent, row: Sequence[Piece], hand_offs: Mapping[str, HandOff | Sequence[Tensor]], batch: int
    ) -> list[Tensor]:
        """The same pieces for every question, in a few operations for the whole batch."""
        parts = []
        for piece in row:
            handed = hand_offs.get(piece) if isinstance(piece, str) else None
            if isinstance(handed, Tensor):
                parts.append(handed.to(agent.device, agent.dtype))  # (B, M, D)
            elif (part := self._part(agent, piece, hand_offs, 0)) is not None:
                parts.append(part.expand(batch, -1, -1))  # (B, T, D)
        return list(torch.cat(parts, dim=1).unbind(0))

    def _part(
        self, agent: LoadedAgent, piece: Piece, hand_offs: Mapping[str, HandOff | Sequence[Tensor]], index: int
    ) -> Tensor | None:
        """One piece of a prompt as embeddings (T, D); None if it is a slot without a hand-off."""
        if isinstance(piece, str):
            handed = hand_offs.get(piece)
            if handed is None:
                return None
            own = handed[index]
            assert isinstance(own, Tensor), "links train on latents"
            return own.to(agent.device, agent.dtype)
        known = (agent.agent.id, piece)
        if known not in self.embedded:  # the same words follow the slot of every question
            self.embedded[known] = agent.embed(piece)
        return self.embedded[known]

    def begin(self, agent: LoadedAgent, prompts: Sequence[Tensor], more: int = 0) -> tuple[Tensor, Context]:
        """Reads what follows the prefix, B tensors (T_b, D), once for answering and thinking."""
        if self._begun is None or prompts[0] is not self._begun.prompt:
            embeds, valid = left_pad(prompts)
            context = self.prefixes[agent.agent.id].fork(embeds.shape[1] + more)
            self._begun = _Begun(prompts[0], extend(agent, context, embeds, valid)[:, -1], context)
        return self._begun.hidden, self._begun.context.fork(more)

    def read(self, agent: LoadedAgent, hidden: Tensor, context: Context, text: str) -> Tensor:
        """As `Recursion.read`; the text is embedded once."""
        ids = tuple(agent.token_ids(text)) if text else ()
        if not ids:
            return hidden
        embeds = self._part(agent, ids, {}, 0)
        assert embeds is not None
        return extend(agent, context, embeds.expand(len(hidden), -1, -1))[:, -1]

    @torch.no_grad()
    def _prefix(self, agent: LoadedAgent) -> Prefix:
        """The prefix of one agent's prompts; empty if they have none in common."""
        kinds = [rows for (key, _), rows in self._pieces.items() if key == agent.agent.id]
        common = [common_beginning([_opening(row) for row in same]) for same in zip(*kinds, strict=True)]
        if not any(common):
            return Prefix(None, [0] * len(common))
        return Prefix(read_once(agent, common), [len(row) for row in common])


def read_once(agent: LoadedAgent, rows: Sequence[Sequence[int]]) -> Context:
    """Reads B rows of ids, not all of them empty; equal ones, and what several begin with, are computed once."""
    distinct = sorted({tuple(row) for row in rows})
    beginnings = shared_beginnings(distinct)
    context = read_once(agent, beginnings) if any(beginnings) else Context(transformers.DynamicCache())
    rest = [row[len(common) :] for row, common in zip(distinct, beginnings, strict=True)]
    embeds, valid = left_pad([agent.embed(ids) for ids in rest])  # (distinct rows, T, D)
    context = context.fork(embeds.shape[1])
    extend(agent, context, embeds, valid)
    places = {row: index for index, row in enumerate(distinct)}
    return context.rows([places[tuple(row)] for row in rows])


def shared_beginnings(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """What each of B sorted rows of ids has in common with a neighbour, if that is most of it; else nothing.

    Neighbours that share a beginning get the same one, and each row keeps at least one id behind it.
    """
    groups: list[list[Sequence[int]]] = []
    for row in rows:
        if groups and 0 < len(row) <= 2 * len(common_beginning([groups[-1][0], groups[-1][-1], row])):
            groups[-1].append(row)
        else:
            groups.append([row])
    beginnings: list[list[int]] = []
    for group in groups:
        common = common_beginning(group) if len(group) > 1 else []
        beginnings += [common[: min(map(len, group)) - 1]] * len(group)
    return beginnings


def _pieces(agent: LoadedAgent, questions: Sequence[Asked], rounds: int) -> list[list[tuple[Piece, ...]]]:
    """The prompts of the first rounds, of all questions, in pieces; every text is tokenised once."""
    keys = [agent.agent.prompt_key(index) for index in range(rounds)]
    filled = {key: [agent.filled(keys.index(key), question) for question in questions] for key in keys}
    segments = [each for rows in filled.values() for row in rows for each in row]
    texts = list(dict.fromkeys(each.text for each in segments if isinstance(each, Text)))
    ids = agent.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    known = {text: tuple(row) for text, row in zip(texts, ids, strict=True)}
    pieces = {
        key: [tuple(known[each.text] if isinstance(each, Text) else each.edge for each in row) for row in rows]
        for key, rows in filled.items()
    }
    return [pieces[key] for key in keys]


def _opening(pieces: Sequence[Piece]) -> tuple[int, ...]:
    """The ids before the first slot; at least one position is left for the turn to read."""
    if not pieces or isinstance(pieces[0], str):
        return ()
    return pieces[0] if len(pieces) > 1 else pieces[0][:-1]


def _behind(pieces: Sequence[Piece], length: int) -> list[Piece]:
    """The pieces without their first `length` ids."""
    if length == 0:
        return list(pieces)
    first, *later = pieces
    assert not isinstance(first, str), "a prefix ends before the first slot"
    return [first[length:], *later] if len(first) > length else later
