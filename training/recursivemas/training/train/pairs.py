"""Pairs (h_t, y_{t+1}) of what the agents write: inner links learn from them, and outer links start from them.

Source: arXiv 2604.25917, inner loop. The text is the system's own: every turn of text mode on training questions, so
hidden states come from the contexts in which an agent will think. A receiver may split a sender's text into other
tokens; positions are then matched through the characters where tokens end. Shape letters: N pairs, K candidates, D
hidden size, B batch, T positions, M latent steps, V vocabulary.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recursivemas.system.progress import Progress, unseen
from recursivemas.system.questions import QuestionRecord
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.processes import batch_seed, share
from recursivemas.training.recursion import Recursion, Turn, Unrolled
from recursivemas.training.rollout import Sampler, Written, logits

BATCH = 128
REPEATS_KEPT = 0.1


@dataclass(frozen=True)
class Pairs:
    """One agent's hidden states and the tokens that followed them.

    Attributes:
        hidden: (N, D) float32, h_t.
        targets: (N, K) ids y_{t+1}: the token that was written, or the K tokens that the agent finds likeliest.
        weights: (N, K) float32, their shares, which sum to 1.
        received: By receiver id, (N, K) ids of the receiver's token that ends where each target ends; -1 if none does.
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
    """Weighted mean of input embeddings; a token that is not read (-1) has no weight.

    Args:
        agent: Its embeddings are averaged.
        tokens: (N, K) ids; at least one in every row is not -1.
        weights: (N, K).

    Returns:
        (N, D) float32.
    """
    if tokens.shape[1] == 1:
        return agent.embed(tokens[:, 0]).float()
    share = weights * (tokens >= 0)  # (N, K)
    share = share / share.sum(1, keepdim=True)
    return (agent.embed(tokens.clamp(min=0)).float() * share[..., None]).sum(1)  # (N, K, D) to (N, D)


def likeliest(agent: LoadedAgent, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` next tokens that an agent finds likeliest, (N, K) ids, and their shares (N, K), which sum to 1."""
    shares, ids = torch.softmax(logits(agent, hidden), -1).topk(count, dim=-1)
    return ids, shares / shares.sum(-1, keepdim=True)


def join(first: Pairs, second: Pairs) -> Pairs:
    """Both collections, one after the other; both have the same K and the same receivers."""
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
    """The receiver's token that ends where each of the sender's tokens ends; -1 if none does.

    No receiver reads a token without text of its own, such as an unknown one.
    """
    read = receiver.tokenizer(sender.decode(ids), add_special_tokens=False, return_offsets_mapping=True)
    by_end = {end: token for token, (_, end) in zip(read["input_ids"], read["offset_mapping"], strict=True)}
    ends = character_ends(sender, ids)
    return [by_end.get(end, -1) if end > before else -1 for before, end in zip([0, *ends], ends, strict=False)]


@dataclass
class Reading:
    """How receivers read what senders wrote; remembered, because short texts recur."""

    agents: Mapping[str, LoadedAgent]
    known: dict[tuple[str, str, tuple[int, ...]], list[int]] = field(default_factory=dict)

    def text(self, source: str, target: str, ids: tuple[int, ...]) -> list[int]:
        """`as_received` of a text."""
        key = (source, target, ids)
        if key not in self.known:
            self.known[key] = as_received(self.agents[source], self.agents[target], ids)
        return self.known[key]

    def tokens(self, source: str, target: str, ids: Tensor) -> Tensor:
        """`as_received` of each token on its own: (N, K) sender ids to receiver ids, -1 if it reads none."""
        unique, places = torch.unique(ids, return_inverse=True)  # (U,) ids, (N, K) indices of them
        read = [self.text(source, target, (token,))[0] for token in unique.tolist()]
        return torch.tensor(read, dtype=torch.long, device=ids.device)[places]


def from_states(
    recursion: Recursion,
    agent: LoadedAgent,
    hidden: Tensor,
    count: int,
    reading: Reading,
    filler: int | None = None,
) -> Pairs:
    """Pairs of hidden states (N, D) and the `count` tokens that the agent itself would most likely write next.

    Args:
        recursion: The system.
        agent: The agent.
        hidden: (N, D).
        count: K.
        reading: How receivers read tokens.
        filler: The token that fills up short hand-offs; it stands in place of a stop token.
    """
    key = agent.agent.id
    targets, weights = likeliest(agent, hidden, count)
    if filler is not None:
        stops = torch.isin(targets, torch.tensor(sorted(agent.stop_tokens), device=targets.device))
        targets = targets.masked_fill(stops, filler)
    receivers = [edge.target for edge in recursion.system.outgoing(key)]
    return Pairs(hidden.float(), targets, weights, {name: reading.tokens(key, name, targets) for name in receivers})


class Variety(NamedTuple):
    """How much the texts that pairs come from differ.

    Attributes:
        pairs: N.
        distinct_tokens: Different tokens among the targets.
        boilerplate: Share of targets that are the commonest token at their place in a text, whatever the question.
    """

    pairs: int
    distinct_tokens: int
    boilerplate: float


@dataclass(frozen=True)
class WrittenTurn:
    """What an agent wrote in a turn, for a batch.

    Attributes:
        agent: Its id.
        ids: B lists of ids.
        states: B tensors (tokens, D) float32 on the CPU, from which it wrote them.
    """

    agent: str
    ids: list[list[int]]
    states: list[Tensor]

    @classmethod
    def of(cls, agent: LoadedAgent, written: Written) -> "WrittenTurn":
        """What `write` returned, with states."""
        return cls(agent.agent.id, written.ids, [states.float().cpu() for states in written.states])


class Collector:
    """Gathers one system's pairs, turn by turn of text mode; called with every turn.

    Attributes:
        hidden: By agent id, tensors (n, D) of the pairs' hidden states.
        targets: By agent id, the tokens that were written.
        places: By agent id, where in its text each token stands.
        received: By (sender, receiver), the receiver's tokens.
    """

    def __init__(self, recursion: Recursion, seed: int) -> None:
        self.recursion, self.reading = recursion, Reading(recursion.agents)
        self.rng = np.random.default_rng(seed)
        self.hidden: dict[str, list[Tensor]] = {key: [] for key in recursion.agents}
        self.targets: dict[str, list[int]] = {key: [] for key in recursion.agents}
        self.places: dict[str, list[int]] = {key: [] for key in recursion.agents}
        self.received: dict[tuple[str, str], list[int]] = {
            (edge.source, edge.target): [] for edge in recursion.system.edges
        }

    def __call__(self, turn: WrittenTurn) -> None:
        """Takes what an agent wrote in a turn."""
        key = turn.agent
        for ids, states in zip(turn.ids, turn.states, strict=True):
            kept = [t for t in range(len(ids)) if not self._is_thinned(ids, t)]
            self.hidden[key].append(states[kept])  # h_t, from which the agent wrote ids[t]
            self.targets[key] += [ids[t] for t in kept]
            self.places[key] += kept
            for edge in self.recursion.system.outgoing(key):
                read = self.reading.text(key, edge.target, tuple(ids))
                self.received[(key, edge.target)] += [read[t] for t in kept]

    def _is_thinned(self, ids: Sequence[int], t: int) -> bool:
        """Whether a token is left out: most of those that only repeat the token before."""
        return t > 0 and ids[t] == ids[t - 1] and self.rng.random() >= REPEATS_KEPT

    def pairs(self, key: str) -> Pairs:
        """What was gathered of an agent, each target being the token that was written."""
        agent = self.recursion.agents[key]

        def column(ids: list[int]) -> Tensor:
            return torch.tensor(ids, dtype=torch.long, device=agent.device)[:, None]  # (N, 1)

        hidden = torch.cat(self.hidden[key]) if self.hidden[key] else torch.zeros(0, agent.hidden_size)
        received = {target: column(ids) for (source, target), ids in self.received.items() if source == key}
        targets = column(self.targets[key])
        return Pairs(hidden.to(agent.device), targets, torch.ones_like(targets, dtype=torch.float32), received)

    def variety(self, key: str) -> Variety:
        """How much an agent's texts differ."""
        by_place: dict[int, Counter[int]] = {}
        for place, token in zip(self.places[key], self.targets[key], strict=True):
            by_place.setdefault(place, Counter())[token] += 1
        commonest = sum(max(found.values()) for found in by_place.values())
        count = len(self.targets[key])
        return Variety(count, len(set(self.targets[key])), commonest / max(1, count))


@torch.no_grad()
def collect_pairs(
    recursion: Recursion,
    records: Sequence[QuestionRecord],
    temperature: float,
    seed: int,
    candidates: int = 1,
    text_tokens: int | None = None,
    varieties: dict[str, Variety] | None = None,
    progress: Progress = unseen,
) -> dict[str, Pairs]:
    """Every agent's pairs; several processes share the writing, and all get all pairs.

    Tokens that only repeat the token before are thinned to a tenth; otherwise most of the data would be finished
    thoughts that stay where they are.

    Args:
        recursion: The system; links are not used.
        records: Training questions.
        temperature: Of the writing.
        seed: Of the writing and the thinning.
        candidates: K; above 1 the targets are what the agent finds likeliest instead of what it wrote.
        text_tokens: Length of a text; as in text mode by default.
        varieties: Gets how much each agent's texts differ.
        progress: Called with the questions that have been written about, and all of them.
    """
    decoding = recursion.system.decoding
    length = text_tokens or decoding.text_tokens
    decoding = decoding.model_copy(update={"think_before_answer": True, "text_tokens": length})
    writer = Recursion(recursion.system.model_copy(update={"decoding": decoding}), recursion.agents, None)

    def turns(begin: int) -> list[WrittenTurn]:
        generator = torch.Generator(recursion.deciding.device).manual_seed(batch_seed(seed, begin))
        found: list[WrittenTurn] = []

        def listen(agent: LoadedAgent, written: Written) -> None:
            found.append(WrittenTurn.of(agent, written))

        sampler = Sampler(temperature, 1.0, generator)
        writer.run(records[begin : begin + BATCH], mode="text", sampler=sampler, listener=listen)
        progress(min(begin + BATCH, len(records)), len(records))
        return found

    collector = Collector(recursion, seed)
    for turn in itertools.chain.from_iterable(share(range(0, len(records), BATCH), turns)):
        collector(turn)
    pairs = {key: collector.pairs(key) for key in recursion.agents}
    if varieties is not None:
        varieties |= {key: collector.variety(key) for key in recursion.agents}
    if candidates == 1:
        return pairs
    reading = Reading(recursion.agents)
    return {
        key: from_states(recursion, agent, pairs[key].hidden, candidates, reading)
        for key, agent in recursion.agents.items()
    }


@torch.no_grad()
def collect_latent_pairs(
    recursion: Recursion,
    records: Sequence[QuestionRecord],
    seed: int,
    candidates: int = 1,
    progress: Progress = unseen,
    fillers: Mapping[str, int | None] | None = None,
) -> dict[str, Pairs]:
    """Pairs in the contexts that latent rollouts with the present links lead to; several processes share them.

    The targets are the agent's own predictions at its latent thoughts, so a link learns to continue from its own errors
    and from thoughts that no text holds. Source: Ross et al., arXiv 1011.0686 (dataset aggregation).

    Args:
        recursion: The system with links.
        records: Training questions.
        seed: Of the thinning.
        candidates: K.
        progress: Called with the questions that have been answered, and all of them.
        fillers: By agent id, the token that fills up short hand-offs in place of a stop token; none by default.
    """

    def turns(begin: int) -> list[tuple[str, Tensor, Tensor]]:
        """Agent, (B, M, D) thoughts and (B, M) which of them repeat the one before, on the CPU."""
        found: list[Turn] = []
        questions, system = records[begin : begin + BATCH], recursion.system
        for _ in recursion.openings(Unrolled(questions, system.rounds, system.default_latent_steps, turns=found)):
            pass
        thought = [(turn.agent, turn.thoughts) for turn in found if turn.thoughts is not None]
        progress(begin + len(questions), len(records))
        return [(key, each.float().cpu(), _repeats(recursion.agents[key], each).cpu()) for key, each in thought]

    states: dict[str, list[Tensor]] = {key: [] for key in recursion.agents}
    generator = torch.Generator().manual_seed(seed)
    for key, thoughts, repeats in itertools.chain.from_iterable(share(range(0, len(records), BATCH), turns)):
        lucky = torch.rand(repeats.shape, generator=generator) < REPEATS_KEPT
        states[key].append(thoughts[~repeats | lucky])  # (B, M, D) to (n, D)
    reading, fillers = Reading(recursion.agents), fillers or {}
    return {
        key: from_states(
            recursion, agent, torch.cat(states[key]).to(agent.device), candidates, reading, fillers.get(key)
        )
        for key, agent in recursion.agents.items()
    }


def _repeats(agent: LoadedAgent, thoughts: Tensor) -> Tensor:
    """(B, M) bool: thoughts that predict the same token as the thought before."""
    said = logits(agent, thoughts).argmax(-1)  # (B, M, V) to (B, M)
    repeats = torch.zeros_like(said, dtype=torch.bool)
    repeats[:, 1:] = said[:, 1:] == said[:, :-1]
    return repeats
