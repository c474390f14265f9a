"""An answer and how it came about, as plain data: numpy arrays and texts, no tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recursivemas.system.graph import Edge
from recursivemas.system.names import Mode

Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Turn:
    """What one agent did in one round.

    Attributes:
        agent: Its id.
        round: Counted from 1.
        prompt_tokens: Positions of its filled prompt.
        duration_ms: Wall time of the turn, in milliseconds.
        thoughts: (M, D) latent thoughts, float32; None if the turn made none.
        words: The token that each thought would be decoded to (the logit lens), M texts.
        hand_offs: R_out(R_in(H)) by edge id, (M, D_target) float32.
        text: What the agent wrote in text mode; None in the others.
    """

    agent: str
    round: int
    prompt_tokens: int
    duration_ms: float
    thoughts: Array | None = None
    words: tuple[str, ...] = ()
    hand_offs: Mapping[str, Array] = field(default_factory=dict)
    text: str | None = None

    def record(self) -> dict[str, Any]:
        """The turn as JSON values."""
        return {
            "agent": self.agent,
            "round": self.round,
            "prompt_tokens": self.prompt_tokens,
            "thoughts": None if self.thoughts is None else self.thoughts.tolist(),
            "lens": None if self.thoughts is None else list(self.words),
            "hand_offs": {edge: value.tolist() for edge, value in self.hand_offs.items()},
            "text": self.text,
            "duration_ms": self.duration_ms,
        }


@dataclass(frozen=True, eq=False)
class Trace:
    """Every turn of a run. In a notebook it draws the graph, the thoughts as words and how alike they are.

    Attributes:
        agents: Roles by agent id, in the order in which the agents run.
        edges: The hand-offs of the system.
        turns: What each agent did in each round, in order.
    """

    agents: Mapping[str, str]
    edges: tuple[Edge, ...]
    turns: tuple[Turn, ...]

    def _repr_html_(self) -> str:
        from recursivemas.api.notebook import trace_html

        return trace_html(self)


@dataclass(frozen=True)
class EarlyStop:
    """Where a run ended before its last round, and why (docs/recursion.md, rule 10).

    Attributes:
        round: The round that was the last one, counted from 1.
        of: The rounds that the run might have taken.
        similarity: The least cosine between what the round handed back and what the round before did.
    """

    round: int
    of: int
    similarity: float

    def __str__(self) -> str:
        """One sentence."""
        return (
            f"stopped early in round {self.round} of {self.of}: what it hands back is that of the round before "
            f"(similarity {self.similarity:.4f})"
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """A system's answer to one question.

    Attributes:
        system: Name of the system.
        question: What was asked.
        answer: The answer's text.
        mode: How the agents worked together, or a baseline.
        rounds: Rounds that the run took; 1 in a mode without rounds.
        latent_steps: M of agents that have no number of their own.
        token_ids: Ids of the answer, without the stop token.
        decoded_tokens: Tokens that any agent sampled, without stop tokens.
        forward_positions: Positions that any agent computed.
        duration_ms: Wall time of the run, in milliseconds.
        trace: How the answer came about.
        early_stop: Where and why the run ended before its last round; None if it took all of its rounds.
    """

    system: str
    question: str
    answer: str
    mode: Mode
    rounds: int
    latent_steps: int
    token_ids: tuple[int, ...]
    decoded_tokens: int
    forward_positions: int
    duration_ms: float
    trace: Trace = field(repr=False)
    early_stop: EarlyStop | None = None

    def __str__(self) -> str:
        """The answer's text."""
        return self.answer

    def record(self) -> dict[str, Any]:
        """The run as JSON values: what `rmas run --trace` writes. Thoughts and hand-offs are nested lists."""
        return {
            "system": self.system,
            "question": self.question,
            "answer": self.answer,
            "token_ids": list(self.token_ids),
            "decoded_tokens": self.decoded_tokens,
            "forward_positions": self.forward_positions,
            "duration_ms": self.duration_ms,
            **({} if self.early_stop is None else {"early_stop": asdict(self.early_stop)}),
            "turns": [turn.record() for turn in self.trace.turns],
        }

    def _repr_html_(self) -> str:
        from recursivemas.api.notebook import answer_html

        return answer_html(self)
