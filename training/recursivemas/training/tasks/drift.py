"""The drift task: two boats drift along the same currents; which of two harbours may one of them have reached?

Currents `a>b` make a ring of harbours; `? c d from a@5 h@5` asks which of c and d a boat reaches that starts in a or h
and drifts for 5 hops. Exactly one of the two is right. Both boats have to be followed, one written state names one
harbour, and a thought may hold two: agents are taught on mixtures of two states' embeddings, whose successors are the
mixture of both. At one token a hop text follows one boat, and has to guess whenever the right harbour is the other's
(.75 right at best). Source: shared lab notes (superposition; their reachability, with a set that keeps its size).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recursivemas.system.questions import QuestionRecord
from recursivemas.training.tasks.hop import Bools, Ints

SYMBOLS = tuple("abcdefghijkl")
MAX_HOPS = 12
BOATS = 2
SLOT = 2
MAX_CHAIN = 6
ROLE_WORDS = ("scout", "judge")
MARKS = ("?", "from", "go", "=")
SPECIALS = ("<unk>", "<bos>", "<eos>")


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
        walked = np.minimum(depth, self.hops[:, None])[..., None] + self.starts[:, None]
        return self.ring[np.arange(len(self.ring))[:, None, None], walked % self.ring.shape[1]]

    def remaining(self, depth: Ints) -> Ints:
        """(B, n) hops that remain."""
        return np.maximum(self.hops[:, None] - depth, 0)


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


@dataclass(frozen=True)
class Batch:
    """Pre-training sequences, right-padded with <eos>; every position may be a mixture of two tokens.

    Attributes:
        ids: (B, T, 2) tokens; equal where a position is one token.
        weights: (B, T) share of the first.
        scored: (B, T) positions whose tokens the model must predict, each with half of the probability.
        states: (B, T) positions of states in slot and chain, which get embedding noise.
    """

    ids: Ints
    weights: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    scored: Bools
    states: Bools


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

    def single(values: Ints | int) -> Ints:
        """(B, n, 2) of a token or of (B, n) tokens."""
        array = np.asarray(values)
        array = np.broadcast_to(array, (batch, 1)) if array.ndim == 0 else array
        return np.stack([array, array], 2)

    slot_depth = np.maximum(depth[:, None] + np.arange(-SLOT + 1, 1)[None], 0)
    chain_depth = depth[:, None] + 1 + np.arange(MAX_CHAIN)[None]
    successor = np.roll(drifts.ring, -1, axis=1)
    roles = np.array([vocabulary[word] for word in ROLE_WORDS])
    start_states = states[np.take_along_axis(drifts.ring, drifts.starts, 1), drifts.hops[:, None]]
    mark = {word: vocabulary[word] for word in (*MARKS, *SPECIALS)}
    currents = np.take_along_axis(edges[drifts.ring, successor], drifts.shuffle, 1)
    slot_here = np.broadcast_to(~empty[:, None], (batch, SLOT)) & (slot_depth > 0)
    parts: list[tuple[Ints, Bools | bool, bool, bool]] = [
        (single(mark["<bos>"]), True, False, False),
        (single(rng.choice(roles, (batch, 1))), True, False, False),
        (single(currents), True, False, False),
        (single(mark["?"]), True, False, False),
        (single(symbols[drifts.candidates]), True, False, False),
        (single(mark["from"]), True, False, False),
        (single(start_states), True, False, False),
        (pair(slot_depth), slot_here, False, True),
        (single(mark["go"]), True, False, False),
        (pair(chain_depth), np.arange(MAX_CHAIN)[None] < chain_length[:, None], True, True),
        (single(mark["="]), True, False, False),
        (single(symbols[drifts.right][:, None]), True, True, False),
        (single(mark["<eos>"]), True, True, False),
    ]
    return _compact(rng, parts, mark["<eos>"])


def _compact(rng: np.random.Generator, parts: list[tuple[Ints, Bools | bool, bool, bool]], pad: int) -> Batch:
    """Drops absent positions and moves the rest of every row to the left."""
    tokens = np.concatenate([part[0] for part in parts], axis=1)
    shape = tokens.shape[:2]
    present = np.concatenate([np.broadcast_to(keep, part.shape[:2]) for part, keep, _, _ in parts], axis=1)
    scored = np.concatenate([np.full(part.shape[:2], flag) for part, _, flag, _ in parts], axis=1)
    states = np.concatenate([np.full(part.shape[:2], flag) for part, _, _, flag in parts], axis=1)
    order = np.argsort(~present, axis=1, kind="stable")
    rows = np.arange(shape[0])[:, None]
    present, tokens = present[rows, order], np.where(present[..., None], tokens, pad)[rows, order]
    width = int(present.sum(1).max())
    return Batch(
        ids=tokens[:, :width],
        weights=rng.uniform(0.3, 0.7, (shape[0], width)),
        scored=(scored[rows, order] & present)[:, :width],
        states=(states[rows, order] & present)[:, :width],
    )
