"""The drift task: two boats drift along the same currents; which of two harbours does one of them reach?

Currents `a>b` make a ring of harbours; `? c d from a@5 h@5` asks which of c and d a boat reaches that starts in a or h
and drifts for 5 hops. Exactly one of the two is right. Both boats have to be followed. A written state names one
harbour, but a thought may hold two: agents are taught on mixtures of two states' embeddings, whose successors are the
mixture of both successors. At one token a hop, text follows one boat and has to guess whenever the right harbour is the
other boat's (it is right on .75 of questions at best).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.tasks.hop import SYMBOLS
from recursivemas.training.tasks.sequences import Batch, Ints, Part, join_parts

MAX_HOPS = 12
BOATS = 2
SLOT = 2
MAX_CHAIN = 6
ROLE_WORDS = ("scout", "judge")
MARKS = ("?", "from", "go", "=")


def words() -> list[str]:
    """Every word of the task besides the special tokens, in reading order."""
    edges = [f"{a}>{b}" for a in SYMBOLS for b in SYMBOLS if a != b]
    states = [f"{a}@{left}" for a in SYMBOLS for left in range(MAX_HOPS + 1)]
    return [*ROLE_WORDS, *MARKS, *SYMBOLS, *edges, *states]


@dataclass(frozen=True)
class Drifts:
    """A batch of questions.

    Attributes:
        ring: (B, L) harbours in the order of the ring.
        shuffle: (B, L) the order in which the currents are written.
        starts: (B, 2) places on the ring where the boats start.
        hops: (B,) k.
        right: (B,) harbour that a boat reaches.
        candidates: (B, 2) harbours asked about, `right` among them.
    """

    ring: Ints
    shuffle: Ints
    starts: Ints
    hops: Ints
    right: Ints
    candidates: Ints

    def harbours(self, depth: Ints) -> Ints:
        """(B, n, 2) where both boats are after min(depth, k) hops; `depth` is (B, n)."""
        walked = np.minimum(depth, self.hops[:, None])[..., None] + self.starts[:, None]  # (B, n, 2) places on the ring
        harbours: Ints = self.ring[np.arange(len(self.ring))[:, None, None], walked % self.ring.shape[1]]
        return harbours

    def remaining(self, depth: Ints) -> Ints:
        """(B, n) hops that remain."""
        remaining: Ints = np.maximum(self.hops[:, None] - depth, 0)
        return remaining


def sample(rng: np.random.Generator, hops: Ints, length: int = len(SYMBOLS)) -> Drifts:
    """Draws questions with k = `hops` (B,) on rings of `length` harbours."""
    batch = len(hops)
    order = rng.permuted(np.tile(np.arange(len(SYMBOLS)), (batch, 1)), axis=1)[:, :length]
    shuffle = rng.permuted(np.tile(np.arange(length), (batch, 1)), axis=1)
    places = rng.permuted(np.tile(np.arange(length), (batch, 1)), axis=1)
    starts, wrong_place = places[:, :BOATS], places[:, BOATS]
    rows = np.arange(batch)
    boat = rng.integers(0, BOATS, batch)
    right = order[rows, (starts[rows, boat] + hops) % length]
    wrong = order[rows, (wrong_place + hops) % length]
    first = rng.random(batch) < 0.5
    candidates = np.stack([np.where(first, right, wrong), np.where(first, wrong, right)], 1)
    return Drifts(order, shuffle, starts, hops, right, candidates)


def questions(seed: int, count: int) -> list[QuestionRecord]:
    """Questions with k = 1…12 in turn; `group` is k."""
    rng = np.random.default_rng(seed)
    drifts = sample(rng, np.arange(count) % MAX_HOPS + 1)
    records = []
    for row, k in enumerate(drifts.hops):
        ring = [SYMBOLS[index] for index in drifts.ring[row]]
        currents = " ".join(f"{ring[i]}>{ring[(i + 1) % len(ring)]}" for i in drifts.shuffle[row])
        asked = [SYMBOLS[index] for index in drifts.candidates[row]]
        boats = " ".join(f"{ring[start]}@{k}" for start in drifts.starts[row])
        question = f"{currents} ? {asked[0]} {asked[1]} from {boats}"
        choices = (asked[0], asked[1])
        records.append(
            QuestionRecord(question=question, answer=SYMBOLS[drifts.right[row]], choices=choices, group=str(k))
        )
    return records


def pretraining_batch(rng: np.random.Generator, vocabulary: Mapping[str, int], batch: int, length: int) -> Batch:
    """`<bos> role currents ? c d from a@k h@k [slot] go [chain] = answer <eos>`.

    In half of the sequences, states are mixtures of both boats'; in the others slot and chain follow one boat, and the
    first thought without a slot may be either's. 40% have an empty slot, 15% no chain.

    Args:
        rng: Source of everything random.
        vocabulary: Of the agent's tokenizer.
        batch: B.
        length: Harbours of the ring; at least 4.
    """
    drifts = sample(rng, rng.integers(1, MAX_HOPS + 1, batch), length)
    symbols = np.array([vocabulary[a] for a in SYMBOLS])
    states = np.array([[vocabulary[f"{a}@{n}"] for n in range(MAX_HOPS + 1)] for a in SYMBOLS])
    edges = np.array([[vocabulary.get(f"{a}>{b}", -1) for b in SYMBOLS] for a in SYMBOLS])
    mixed = rng.random(batch) < 0.5
    empty = rng.random(batch) < 0.4
    depth = np.where(empty, 0, rng.integers(1, MAX_HOPS + 1, batch))
    chain_length = np.where(rng.random(batch) < 0.15, 0, rng.integers(1, MAX_CHAIN + 1, batch))
    boat = rng.integers(0, BOATS, batch)

    def pair(at: Ints) -> Ints:
        """(B, n, 2) state tokens, both boats' where mixed, one boat's twice where not."""
        both = states[drifts.harbours(at), drifts.remaining(at)[..., None]]
        one = np.take_along_axis(both, boat[:, None, None].repeat(at.shape[1], 1), 2)
        return np.where(mixed[:, None, None], both, one)

    def single(tokens: Ints) -> Ints:
        """(B, n) tokens as (B, n, 2)."""
        return np.stack([tokens, tokens], 2)

    def word(name: str) -> Ints:
        return np.full((batch, 1, 2), vocabulary[name])

    slot_depth = np.maximum(depth[:, None] + np.arange(-SLOT + 1, 1)[None], 0)  # (B, SLOT)
    chain_depth = depth[:, None] + 1 + np.arange(MAX_CHAIN)[None]  # (B, MAX_CHAIN)
    successor = np.roll(drifts.ring, -1, axis=1)
    roles = np.array([vocabulary[word] for word in ROLE_WORDS])
    start_states = states[np.take_along_axis(drifts.ring, drifts.starts, 1), drifts.hops[:, None]]  # (B, 2)
    currents = np.take_along_axis(edges[drifts.ring, successor], drifts.shuffle, 1)  # (B, L)
    parts = [
        Part(word("<bos>")),
        Part(single(rng.choice(roles, (batch, 1)))),
        Part(single(currents)),
        Part(word("?")),
        Part(single(symbols[drifts.candidates])),
        Part(word("from")),
        Part(single(start_states)),
        Part(pair(slot_depth), ~empty[:, None] & (slot_depth > 0), state=True),
        Part(word("go")),
        Part(pair(chain_depth), np.arange(MAX_CHAIN)[None] < chain_length[:, None], scored=True, state=True),
        Part(word("=")),
        Part(single(symbols[drifts.right][:, None]), scored=True),
        Part(word("<eos>"), scored=True),
    ]
    joined = join_parts(parts, vocabulary["<eos>"])
    return replace(joined, weights=rng.uniform(0.3, 0.7, joined.scored.shape))
