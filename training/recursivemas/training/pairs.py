"""Pairs (h_t, y_{t+1}) of what the agents themselves write: what inner links learn from and outer links start from.

Source: arXiv 2604.25917, inner loop. The text is the system's own: every turn of text mode on training questions, so an
agent's hidden states are met in the contexts in which it will think. A receiver may tokenise a sender's text otherwise;
positions are then matched through the characters where tokens end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from torch import Tensor

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Recursion
from recursivemas.training.rollout import Context, Sampler, extend, left_pad

BATCH = 128
REPEATS_KEPT = 0.1


@dataclass(frozen=True)
class Pairs:
    """One agent's hidden states and the tokens that followed them.

    Attributes:
        hidden: (N, D) float32, h_t.
        targets: (N,) ids y_{t+1}.
        received: For every receiver's tokenizer asked for, (N,) ids of its token that ends where y_{t+1} ends, -1 where
            none does; by receiver id.
    """

    hidden: Tensor
    targets: Tensor
    received: dict[str, Tensor]


def character_ends(agent: LoadedAgent, ids: Sequence[int]) -> list[int]:
    """The character of the handed-over text at which each token ends."""
    text = agent.tokenizer.decode(list(ids), skip_special_tokens=True)
    lead = len(text) - len(text.lstrip())
    ends = []
    for count in range(1, len(ids) + 1):
        ends.append(len(agent.tokenizer.decode(list(ids[:count]), skip_special_tokens=True).rstrip()) - lead)
    return ends


def as_received(sender: LoadedAgent, receiver: LoadedAgent, ids: Sequence[int]) -> list[int]:
    """The receiver's token that ends where each of the sender's tokens ends; -1 where none does.

    A sender's token without text of its own, such as an unknown one, is read by nobody.
    """
    read = receiver.tokenizer(sender.decode(ids), add_special_tokens=False, return_offsets_mapping=True)
    by_end = {end: token for token, (_, end) in zip(read["input_ids"], read["offset_mapping"], strict=True)}
    ends = character_ends(sender, ids)
    return [by_end.get(end, -1) if end > before else -1 for before, end in zip([0, *ends], ends, strict=False)]


class _Collector:
    """Gathers one system's pairs turn by turn."""

    def __init__(self, recursion: Recursion, seed: int) -> None:
        self.recursion = recursion
        self.rng = np.random.default_rng(seed)
        self.hidden: dict[str, list[Tensor]] = {key: [] for key in recursion.agents}
        self.targets: dict[str, list[int]] = {key: [] for key in recursion.agents}
        self.received: dict[tuple[str, str], list[int]] = {
            (edge.source, edge.target): [] for edge in recursion.system.edges
        }
        self._read: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}

    def __call__(self, agent: LoadedAgent, prompts: list[Tensor], written: list[list[int]]) -> None:
        """Runs the agent once more over its prompts and what it wrote."""
        kept_rows = [index for index, ids in enumerate(written) if ids]
        if not kept_rows:
            return
        rows = [torch.cat([prompts[i], agent.embed(written[i][:-1]).to(prompts[i])]) for i in kept_rows]
        embeds, valid = left_pad(rows)
        states = extend(agent, Context(transformers.DynamicCache()), embeds, valid).float()
        key = agent.agent.id
        receivers = [edge.target for edge in self.recursion.system.outgoing(key)]
        for row, index in enumerate(kept_rows):
            ids = written[index]
            kept = [t for t in range(len(ids)) if not self._repeats(ids, t) or self.rng.random() < REPEATS_KEPT]
            self.hidden[key].append(states[row, -len(ids) :][kept])
            self.targets[key] += [ids[t] for t in kept]
            for target in receivers:
                read = self._as_received(agent, target, tuple(ids))
                self.received[(key, target)] += [read[t] for t in kept]

    def _as_received(self, agent: LoadedAgent, target: str, ids: tuple[int, ...]) -> list[int]:
        """`as_received`, remembered: short texts recur."""
        key = (agent.agent.id, target, ids)
        if key not in self._read:
            self._read[key] = as_received(agent, self.recursion.agents[target], ids)
        return self._read[key]

    @staticmethod
    def _repeats(ids: Sequence[int], t: int) -> bool:
        return t > 0 and ids[t] == ids[t - 1]


@torch.no_grad()
def collect_pairs(
    recursion: Recursion, records: Sequence[QuestionRecord], temperature: float, seed: int
) -> dict[str, Pairs]:
    """Every agent's pairs.

    Tokens that only repeat their predecessor are thinned to a tenth: a finished thought that stays where it is would
    otherwise be most of the data.

    Args:
        recursion: The system; links are not used.
        records: Training questions.
        temperature: Of the writing.
        seed: Of the writing and the thinning.
    """
    collector = _Collector(recursion, seed)
    generator = torch.Generator(recursion.deciding.device).manual_seed(seed)
    sampler = Sampler(temperature, 1.0, generator)
    system = recursion.system.model_copy(
        update={"decoding": recursion.system.decoding.model_copy(update={"think_before_answer": True})}
    )
    writer = Recursion(system, recursion.agents, None)
    for begin in range(0, len(records), BATCH):
        questions = [record.question for record in records[begin : begin + BATCH]]
        writer.run(questions, mode="text", sampler=sampler, listener=collector)
    pairs = {}
    for key, agent in recursion.agents.items():
        received = {
            target: torch.tensor(ids, device=agent.device)
            for (source, target), ids in collector.received.items()
            if source == key
        }
        targets = torch.tensor(collector.targets[key], device=agent.device)
        hidden = torch.cat(collector.hidden[key]) if collector.hidden[key] else torch.zeros(0, agent.hidden_size)
        pairs[key] = Pairs(hidden.to(agent.device), targets, received)
    return pairs
