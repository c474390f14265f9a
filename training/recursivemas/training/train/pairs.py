"""Pairs (h_t, y_{t+1}) of what the agents themselves write: what inner links learn from and outer links start from.

Source: arXiv 2604.25917, inner loop. The text is the system's own: every turn of text mode on training questions, so an
agent's hidden states are met in the contexts in which it will think. A receiver may tokenise a sender's text otherwise;
positions are then matched through the characters where tokens end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import transformers
from torch import Tensor

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.recursion import Recursion, Turn
from recursivemas.training.rollout import Context, Sampler, extend, left_pad, logits

BATCH = 128
REPEATS_KEPT = 0.1


@dataclass(frozen=True)
class Pairs:
    """One agent's hidden states and the tokens that followed them.

    Attributes:
        hidden: (N, D) float32, h_t.
        targets: (N, K) ids y_{t+1}: the token that was written, or the K that the agent finds likeliest.
        weights: (N, K) float32, their shares, which sum to 1.
        received: For every receiver's tokenizer asked for, (N, K) ids of its token that ends where each ends, -1 where
            none does; by receiver id.
    """

    hidden: Tensor
    targets: Tensor
    weights: Tensor
    received: dict[str, Tensor]

    def to(self, device: torch.device) -> "Pairs":
        """The same pairs on a device."""
        received = {key: tokens.to(device) for key, tokens in self.received.items()}
        return Pairs(self.hidden.to(device), self.targets.to(device), self.weights.to(device), received)


def mean_embedding(agent: LoadedAgent, tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of input embeddings; what nobody reads (-1) has no weight.

    Args:
        agent: Whose embeddings.
        tokens: (N, K) ids, at least one of a row not -1.
        weights: (N, K).

    Returns:
        (N, D) float32.
    """
    if tokens.shape[1] == 1:
        return agent.embed(tokens[:, 0]).float()
    share = weights * (tokens >= 0)
    share = share / share.sum(1, keepdim=True)
    return (agent.embed(tokens.clamp(min=0)).float() * share[..., None]).sum(1)


def likeliest(agent: LoadedAgent, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` next tokens that an agent finds likeliest, (N, K) ids, and their shares (N, K), which sum to 1."""
    shares, ids = torch.softmax(logits(agent, hidden), -1).topk(count, dim=-1)
    return ids, shares / shares.sum(-1, keepdim=True)


def join(first: Pairs, second: Pairs) -> Pairs:
    """Both collections, one after the other."""
    received = {key: torch.cat([tokens, second.received[key]]) for key, tokens in first.received.items()}
    return Pairs(
        torch.cat([first.hidden, second.hidden]),
        torch.cat([first.targets, second.targets]),
        torch.cat([first.weights, second.weights]),
        received,
    )


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


@dataclass
class Reading:
    """How receivers read single tokens of senders, remembered: `as_received` of a token on its own."""

    agents: Mapping[str, LoadedAgent]
    known: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)

    def __call__(self, source: str, target: str, tokens: Tensor) -> Tensor:
        """(N, K) ids of the sender to ids of the receiver, -1 where it reads none."""
        known = self.known.setdefault((source, target), {})
        unique, places = tokens.unique(return_inverse=True)
        for token in unique.tolist():
            if token not in known:
                known[token] = as_received(self.agents[source], self.agents[target], [token])[0]
        read = torch.tensor([known[token] for token in unique.tolist()], dtype=torch.long, device=tokens.device)
        return read[places]


def from_states(recursion: Recursion, agent: LoadedAgent, hidden: Tensor, count: int, reading: Reading) -> Pairs:
    """Pairs of hidden states (N, D) and what the agent itself would write next, in `count` candidates."""
    key = agent.agent.id
    targets, weights = likeliest(agent, hidden, count)
    receivers = [edge.target for edge in recursion.system.outgoing(key)]
    return Pairs(hidden.float(), targets, weights, {name: reading(key, name, targets) for name in receivers})


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
    recursion: Recursion, records: Sequence[QuestionRecord], temperature: float, seed: int, candidates: int = 1
) -> dict[str, Pairs]:
    """Every agent's pairs.

    Tokens that only repeat their predecessor are thinned to a tenth: a finished thought that stays where it is would
    otherwise be most of the data.

    Args:
        recursion: The system; links are not used.
        records: Training questions.
        temperature: Of the writing.
        seed: Of the writing and the thinning.
        candidates: K; above 1 the targets are what the agent finds likeliest in place of what it wrote.
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
    reading = Reading(recursion.agents)
    pairs = {}
    for key, agent in recursion.agents.items():
        hidden = torch.cat(collector.hidden[key]) if collector.hidden[key] else torch.zeros(0, agent.hidden_size)
        hidden = hidden.to(agent.device)
        if candidates > 1:
            pairs[key] = from_states(recursion, agent, hidden, candidates, reading)
            continue
        received = {
            target: torch.tensor(ids, dtype=torch.long, device=agent.device)[:, None]
            for (source, target), ids in collector.received.items()
            if source == key
        }
        targets = torch.tensor(collector.targets[key], dtype=torch.long, device=agent.device)[:, None]
        pairs[key] = Pairs(hidden, targets, torch.ones_like(targets, dtype=torch.float32), received)
    return pairs


@torch.no_grad()
def collect_latent_pairs(
    recursion: Recursion, records: Sequence[QuestionRecord], seed: int, candidates: int = 1
) -> dict[str, Pairs]:
    """Pairs in the contexts that latent rollouts with the links as they are lead to.

    An agent's own prediction at its latent thought says what would follow, so a link learns to go on from its own
    errors and from thoughts that no text holds. Source: Ross et al., arXiv 1011.0686 (dataset aggregation).

    Args:
        recursion: The system with links.
        records: Training questions.
        seed: Of the thinning.
        candidates: K.
    """
    states: dict[str, list[Tensor]] = {key: [] for key in recursion.agents}
    generator = torch.Generator().manual_seed(seed)
    for begin in range(0, len(records), BATCH):
        turns: list[Turn] = []
        questions = [record.question for record in records[begin : begin + BATCH]]
        for _ in recursion.unroll(questions, recursion.system.rounds, recursion.system.latent_steps, turns=turns):
            pass
        for turn in turns:
            if turn.thoughts is not None:
                kept = _fresh(recursion.agents[turn.agent], turn.thoughts, generator)
                states[turn.agent].append(turn.thoughts[kept].float())
    reading = Reading(recursion.agents)
    return {
        key: from_states(recursion, agent, torch.cat(states[key]), candidates, reading)
        for key, agent in recursion.agents.items()
    }


def _fresh(agent: LoadedAgent, thoughts: Tensor, generator: torch.Generator) -> Tensor:
    """(B, M) bool: thoughts that say something else than the one before, and a tenth of the others."""
    said = logits(agent, thoughts).argmax(-1)
    repeats = torch.zeros_like(said, dtype=torch.bool)
    repeats[:, 1:] = said[:, 1:] == said[:, :-1]
    lucky = torch.rand(said.shape, generator=generator).to(said.device) < REPEATS_KEPT
    return ~repeats | lucky
