"""The journey task: walk a ring of towns for k hops, by roads, ferries and rails.

A random ring over 12 towns is written as shuffled ways, `a>b` a road, `b~c` a ferry, `c-d` a rail, then `? f@7`: where
does one arrive after 7 hops from f? A state `g@6` names a town and the hops that remain; at `e@0` one stays. One token
is at most one hop. Each agent knows one kind of way and stays put where another kind begins, so no agent can answer
alone: the ways of a question change at every hop, so three agents get 3, 6 and 9 hops far in 1, 2 and 3 rounds. No walk
goes all the way around the ring, because a state would then look finished although it is not. An earlier form of the
task with a single kind of arrow showed no collaboration (docs/training-log.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.tasks.sequences import Batch, Bools, Ints, Part, join_parts

SYMBOLS = tuple("abcdefghijkl")
KINDS = (">", "~", "-")
MAX_HOPS = 18
ROUNDS = 3
USUAL_RUN = 2
MAX_SLOT = 4
MAX_CHAIN = 8
ROLE_WORDS = ("plan", "critic", "solve", "explore", "learn", "teach", "reflect", "decide", "think")
MARKS = ("?", "go", "=")
SPECIALS = ("<unk>", "<bos>", "<eos>")


def words() -> list[str]:
    """Every word of the task besides the special tokens, in reading order."""
    edges = [f"{a}{kind}{b}" for kind in KINDS for a in SYMBOLS for b in SYMBOLS if a != b]
    states = [f"{a}@{left}" for a in SYMBOLS for left in range(MAX_HOPS + 1)]
    return [*ROLE_WORDS, *MARKS, *SYMBOLS, *edges, *states]


@dataclass(frozen=True)
class Walks:
    """A batch of walks; every walk starts at the ring's first town.

    Attributes:
        ring: (B, L) town indices in the order of the ring.
        kinds: (B, L) kind of the way that leaves each town of the ring.
        shuffle: (B, L) the order in which the ways are written.
        hops: (B,) k.
    """

    ring: Ints
    kinds: Ints
    shuffle: Ints
    hops: Ints

    def town(self, depth: Ints) -> Ints:
        """Town indices (B, n) after min(depth, k) hops; `depth` is (B, n)."""
        walked = np.minimum(depth, self.hops[:, None]) % self.ring.shape[1]
        town: Ints = self.ring[np.arange(len(walked))[:, None], walked]
        return town

    def remaining(self, depth: Ints) -> Ints:
        """Hops (B, n) that remain after `depth` hops, never below 0."""
        remaining: Ints = np.maximum(self.hops[:, None] - depth, 0)
        return remaining

    def step(self, depth: Ints, kind: int) -> Ints:
        """Depth (B,) after one thought of an agent that knows one kind: a hop, or none where another kind begins."""
        here = np.take_along_axis(self.kinds, (depth % self.ring.shape[1])[:, None], 1)[:, 0]
        stepped: Ints = depth + ((here == kind) & (depth < self.hops))
        return stepped


# The parts that end a sequence in place of the answer
Ending: TypeAlias = Callable[[Walks], list[Part]]


def _shuffled(rng: np.random.Generator, batch: int, count: int) -> Ints:
    return rng.permuted(np.tile(np.arange(count), (batch, 1)), axis=1)


def sample_questions(rng: np.random.Generator, hops: Ints, kinds: Sequence[int]) -> Walks:
    """Walks of the task: full rings whose ways change at every hop, in the order `kinds`."""
    batch, length = len(hops), len(SYMBOLS)
    assert length % len(kinds) == 0
    ways = np.tile(np.array(kinds), (batch, length // len(kinds)))
    return Walks(_shuffled(rng, batch, length), ways, _shuffled(rng, batch, length), hops)


def questions(seed: int, count: int, kinds: Sequence[int] = (0, 1, 2)) -> list[QuestionRecord]:
    """Questions for agents that know `kinds`, in the order in which they run; `group` is k.

    k takes the values 1…3·agents in turn, which is what three rounds reach; so every run of that many neighbouring
    questions holds every k.
    """
    rng = np.random.default_rng(seed)
    walks = sample_questions(rng, np.arange(count) % (ROUNDS * len(kinds)) + 1, kinds)
    ends = walks.town(walks.hops[:, None])[:, 0]
    records = []
    for row, k in enumerate(walks.hops):
        ring = [SYMBOLS[index] for index in walks.ring[row]]
        ways = [f"{ring[i]}{KINDS[walks.kinds[row, i]]}{ring[(i + 1) % len(ring)]}" for i in walks.shuffle[row]]
        question = f"{' '.join(ways)} ? {ring[0]}@{k}"
        records.append(QuestionRecord(question=question, answer=SYMBOLS[ends[row]], group=str(k)))
    return records


def _pretraining_walks(rng: np.random.Generator, batch: int, length: int, depth: Ints, kind: int) -> Walks:
    """Rings of `length` towns whose ways change after random runs; at `depth` the agent's own kind is likelier."""
    order = _shuffled(rng, batch, len(SYMBOLS))[:, :length]
    run = np.where(rng.random(batch) < 0.6, USUAL_RUN, rng.integers(1, MAX_SLOT + 1, batch))
    places = (np.arange(length)[None] + rng.integers(0, 12, batch)[:, None]) // run[:, None]
    kinds = _shuffled(rng, batch, len(KINDS))[np.arange(batch)[:, None], places % len(KINDS)]
    here = np.take_along_axis(kinds, (depth % length)[:, None], 1)
    # With two kinds swapped, a ring is as likely as before.
    own = rng.random((batch, 1)) < 0.6
    kinds = np.where(own & (kinds == here), kind, np.where(own & (kinds == kind), here, kinds))
    return Walks(order, kinds, _shuffled(rng, batch, length), rng.integers(1, MAX_HOPS + 1, batch))


def _slot_depth(rng: np.random.Generator, slot_length: Ints, twice: Bools, depth: Ints) -> Ints:
    """(B, MAX_SLOT) depths of the states in the slot: the sender walked up to `depth` and stayed for some thoughts."""
    batch = len(depth)
    stays = np.where(rng.random(batch) < 0.5, np.maximum(slot_length - USUAL_RUN, 0), rng.integers(0, 3, batch))
    back = np.minimum(np.arange(MAX_SLOT)[None] - slot_length[:, None] + 1 + stays[:, None], 0)
    back = np.where(twice[:, None], np.array([[-1, 0, -1, 0]]), back)
    slot_depth: Ints = np.maximum(depth[:, None] + back, 0)
    return slot_depth


def _chain_depth(walks: Walks, depth: Ints, kind: int) -> Ints:
    """(B, MAX_CHAIN) depths of the agent's own thoughts, which go on from `depth`."""
    chain = [walks.step(np.minimum(depth, walks.hops), kind)]
    while len(chain) < MAX_CHAIN:
        chain.append(walks.step(chain[-1], kind))
    return np.stack(chain, 1)


def pretraining_batch(
    rng: np.random.Generator,
    vocabulary: Mapping[str, int],
    batch: int,
    length: int,
    kind: int,
    ending: Ending | None = None,
) -> Batch:
    """`<bos> role ways ? a@k [slot] go [chain] = answer <eos>` with random slot and chain lengths.

    15% have no chain and 40% an empty slot. A slot holds 1…4 states (mostly two) that end at a random depth, or two
    states twice, as from two senders that agree.

    Args:
        rng: Source of everything random.
        vocabulary: Token ids of the agent's tokenizer.
        batch: B.
        length: Towns of the ring.
        kind: The kind of way that the agent knows.
        ending: Replaces the answer, which is the last town.
    """
    slot_length = rng.choice([1, 2, 3, 4], size=batch, p=[0.1, 0.6, 0.15, 0.15])
    empty = rng.random(batch) < 0.4
    twice = (slot_length == MAX_SLOT) & (rng.random(batch) < 0.5)
    depth = np.where(empty, 0, rng.integers(1, MAX_HOPS + 1, batch))
    slot_length = np.where(empty, 0, slot_length)
    chain_length = np.where(rng.random(batch) < 0.15, 0, rng.integers(1, MAX_CHAIN + 1, batch))
    walks = _pretraining_walks(rng, batch, length, depth, kind)
    slot_depth, chain_depth = _slot_depth(rng, slot_length, twice, depth), _chain_depth(walks, depth, kind)
    # Token ids, to be indexed with kinds, towns and hops that remain; there is no way from a town to itself.
    way_ids = np.array([[[vocabulary.get(f"{a}{k}{b}", -1) for b in SYMBOLS] for a in SYMBOLS] for k in KINDS])
    state_ids = np.array([[vocabulary[f"{a}@{left}"] for left in range(MAX_HOPS + 1)] for a in SYMBOLS])
    symbol_ids, role_ids = (np.array([vocabulary[word] for word in words]) for words in (SYMBOLS, ROLE_WORDS))

    def states(depths: Ints) -> Ints:
        """(B, n) depths to state tokens."""
        return state_ids[walks.town(depths), walks.remaining(depths)]

    def word(name: str) -> Ints:
        return np.full((batch, 1), vocabulary[name])

    answer = [Part(symbol_ids[walks.town(walks.hops[:, None])], scored=True)] if ending is None else ending(walks)
    ways = way_ids[walks.kinds, walks.ring, np.roll(walks.ring, -1, axis=1)]  # (B, L) in the order of the ring
    parts = [
        Part(word("<bos>")),
        Part(rng.choice(role_ids, batch)[:, None]),
        Part(np.take_along_axis(ways, walks.shuffle, 1)),
        Part(word("?")),
        Part(states(np.zeros((batch, 1), np.int64))),
        Part(states(slot_depth), np.arange(MAX_SLOT)[None] < slot_length[:, None], state=True),
        Part(word("go")),
        Part(states(chain_depth), np.arange(MAX_CHAIN)[None] < chain_length[:, None], scored=True, state=True),
        Part(word("=")),
        *answer,
        Part(word("<eos>"), scored=True),
    ]
    return join_parts(parts, vocabulary["<eos>"])
