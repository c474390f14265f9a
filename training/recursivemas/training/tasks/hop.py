"""The journey task: walk a ring of towns for k hops, by roads, ferries and rails.

A random ring over 12 towns is written as shuffled ways, `a>b` a road, `b~c` a ferry, `c-d` a rail, then `? f@7`: where
is one after 7 hops from f? A state `g@6` names a town and the hops that remain; at `e@0` one stays. One token is at
most one hop. Each agent knows one kind of way and stays put where another kind begins, so none can answer alone: the
ways of a question change at every hop, so three agents get 3, 6 and 9 hops far in 1, 2 and 3 rounds. No walk comes
around the ring, where a state would look finished that is not. Source: shared lab notes (with a single kind of arrow,
which one agent looped on itself walks as well as three: .93 against .84, so that task showed no collaboration).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from recursivemas.system.questions import QuestionRecord

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

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


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
        """Town indices after min(depth, k) hops; `depth` is (B, n)."""
        walked = np.minimum(depth, self.hops[:, None]) % self.ring.shape[1]
        return np.take_along_axis(self.ring, walked, 1)

    def remaining(self, depth: Ints) -> Ints:
        """Hops that remain after `depth` hops, never below 0."""
        return np.maximum(self.hops[:, None] - depth, 0)

    def step(self, depth: Ints, kind: int) -> Ints:
        """Depth (B,) after one thought of an agent that knows one kind: a hop, or none where another kind begins."""
        here = np.take_along_axis(self.kinds, (depth % self.ring.shape[1])[:, None], 1)[:, 0]
        return depth + ((here == kind) & (depth < self.hops))


# What ends a sequence in place of the answer: (B, n) tokens and whether they are scored
Ending: TypeAlias = Callable[[Walks], list[tuple[Ints, bool]]]


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

    k is 1…3·agents in turn, what three rounds reach, so that any so many neighbours hold every k.
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


@dataclass(frozen=True)
class Ids:
    """Token ids of one tokenizer, as tables to index with town indices."""

    edge: Ints
    state: Ints
    symbol: Ints
    roles: Ints
    bos: int
    eos: int
    ask: int
    go: int
    equals: int

    @classmethod
    def of(cls, vocabulary: Mapping[str, int]) -> "Ids":
        """Tables from a tokenizer's vocabulary."""
        edge = [[[vocabulary.get(f"{a}{kind}{b}", -1) for b in SYMBOLS] for a in SYMBOLS] for kind in KINDS]
        state = [[vocabulary[f"{a}@{left}"] for left in range(MAX_HOPS + 1)] for a in SYMBOLS]
        return cls(
            edge=np.array(edge),
            state=np.array(state),
            symbol=np.array([vocabulary[a] for a in SYMBOLS]),
            roles=np.array([vocabulary[word] for word in ROLE_WORDS]),
            bos=vocabulary["<bos>"],
            eos=vocabulary["<eos>"],
            ask=vocabulary["?"],
            go=vocabulary["go"],
            equals=vocabulary["="],
        )


@dataclass(frozen=True)
class Batch:
    """Pre-training sequences, right-padded with <eos>.

    Attributes:
        ids: (B, T).
        scored: (B, T) positions whose token the model must predict (chain, answer, <eos>).
        states: (B, T) positions of state tokens in slot and chain, which get embedding noise.
    """

    ids: Ints
    scored: Bools
    states: Bools


def _pretraining_walks(rng: np.random.Generator, batch: int, length: int, depth: Ints, kind: int) -> Walks:
    """Rings of `length` towns whose ways change after random runs; at `depth` the agent's own kind is likelier."""
    order = _shuffled(rng, batch, len(SYMBOLS))[:, :length]
    run = np.where(rng.random(batch) < 0.6, USUAL_RUN, rng.integers(1, MAX_SLOT + 1, batch))
    places = (np.arange(length)[None] + rng.integers(0, 12, batch)[:, None]) // run[:, None]
    kinds = _shuffled(rng, batch, len(KINDS))[np.arange(batch)[:, None], places % len(KINDS)]
    here = np.take_along_axis(kinds, (depth % length)[:, None], 1)
    # Swapping two kinds of a ring makes another ring as likely as it.
    own = rng.random((batch, 1)) < 0.6
    kinds = np.where(own & (kinds == here), kind, np.where(own & (kinds == kind), here, kinds))
    return Walks(order, kinds, _shuffled(rng, batch, length), rng.integers(1, MAX_HOPS + 1, batch))


def pretraining_batch(
    rng: np.random.Generator, ids: Ids, batch: int, length: int, kind: int, ending: Ending | None = None
) -> Batch:
    """`<bos> role ways ? a@k [slot] go [chain] = answer <eos>` with random slot and chain lengths.

    Source: shared lab notes. 15% have no chain, 40% an empty slot; a slot holds 1…4 states (mostly two) that end at a
    random depth, or two states twice, as from two senders that agree.

    Args:
        rng: Source of everything random.
        ids: Of the agent's tokenizer.
        batch: B.
        length: Towns of the ring.
        kind: The kind of way that the agent knows.
        ending: In place of the answer, the last town.
    """
    slot_length = rng.choice([1, 2, 3, 4], size=batch, p=[0.1, 0.6, 0.15, 0.15])
    empty = rng.random(batch) < 0.4
    twice = (slot_length == MAX_SLOT) & (rng.random(batch) < 0.5)
    depth = np.where(empty, 0, rng.integers(1, MAX_HOPS + 1, batch))
    slot_length = np.where(empty, 0, slot_length)
    chain_length = np.where(rng.random(batch) < 0.15, 0, rng.integers(1, MAX_CHAIN + 1, batch))
    walks = _pretraining_walks(rng, batch, length, depth, kind)

    # The sender walked up to `depth` and stayed there for `stays` thoughts.
    stays = np.where(rng.random(batch) < 0.5, np.maximum(slot_length - USUAL_RUN, 0), rng.integers(0, 3, batch))
    back = np.minimum(np.arange(MAX_SLOT)[None] - slot_length[:, None] + 1 + stays[:, None], 0)
    back = np.where(twice[:, None], np.array([[-1, 0, -1, 0]]), back)
    slot_depth = np.maximum(depth[:, None] + back, 0)
    chain = []
    at = np.minimum(depth, walks.hops)
    for _ in range(MAX_CHAIN):
        at = walks.step(at, kind)
        chain.append(at)

    def states(depths: Ints) -> Ints:
        return ids.state[walks.town(depths), walks.remaining(depths)]

    def column(values: Ints | int) -> Ints:
        return np.broadcast_to(np.asarray(values), (batch,)).reshape(batch, 1)

    ends = [(ids.symbol[walks.town(walks.hops[:, None])], True)] if ending is None else ending(walks)
    edges = ids.edge[walks.kinds, walks.ring, np.roll(walks.ring, -1, axis=1)]
    parts: list[tuple[Ints, Bools | bool, bool, bool]] = [
        (column(ids.bos), True, False, False),
        (column(rng.choice(ids.roles, batch)), True, False, False),
        (np.take_along_axis(edges, walks.shuffle, 1), True, False, False),
        (column(ids.ask), True, False, False),
        (states(np.zeros((batch, 1), np.int64)), True, False, False),
        (states(slot_depth), np.arange(MAX_SLOT)[None] < slot_length[:, None], False, True),
        (column(ids.go), True, False, False),
        (states(np.stack(chain, 1)), np.arange(MAX_CHAIN)[None] < chain_length[:, None], True, True),
        (column(ids.equals), True, False, False),
        *((tokens, True, scored, False) for tokens, scored in ends),
        (column(ids.eos), True, True, False),
    ]
    return _compact(parts, ids.eos)


def _compact(parts: list[tuple[Ints, Bools | bool, bool, bool]], pad: int) -> Batch:
    """Drops absent positions and moves the rest of every row to the left."""
    tokens = np.concatenate([part[0] for part in parts], axis=1)
    present = np.concatenate([np.broadcast_to(keep, part.shape) for part, keep, _, _ in parts], axis=1)
    scored = np.concatenate([np.full(part.shape, flag) for part, _, flag, _ in parts], axis=1)
    states = np.concatenate([np.full(part.shape, flag) for part, _, _, flag in parts], axis=1)
    order = np.argsort(~present, axis=1, kind="stable")
    rows = np.arange(len(tokens))[:, None]
    present, tokens = present[rows, order], np.where(present, tokens, pad)[rows, order]
    width = int(present.sum(1).max())
    return Batch(
        ids=tokens[:, :width],
        scored=(scored[rows, order] & present)[:, :width],
        states=(states[rows, order] & present)[:, :width],
    )
