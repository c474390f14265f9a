"""What a run gives: turns and answers of a batch.

Source: docs/recursion.md. Rounds count from 0. Shape letters: B batch, M latent steps, D hidden size.
"""

from dataclasses import dataclass, field

from torch import Tensor

from recursivemas.system.early_stopping import EarlyStop
from recursivemas.training.agents import LoadedAgent

ANSWER_ROOM = 32
"""Positions of an answer that memory is made for at once."""


def steps_of(agent: LoadedAgent, latent_steps: int) -> int:
    """M of an agent: its own number, or else the run's."""
    return agent.agent.latent_steps or latent_steps


@dataclass(frozen=True)
class Turn:
    """What one agent did in one round, for the whole batch.

    Attributes:
        agent: Its id.
        round: Counted from 0.
        prompt_tokens: (B,) positions of the filled prompts.
        duration_ms: Wall time of the turn.
        thoughts: (B, M, D) latent thoughts; None if the turn made none.
        hand_offs: R_out(R_in(H)) by edge id, (B, M, D_target) float32.
        texts: B texts in text mode.
        kept_positions: (B,) those of the prompts that were not computed again (rule 3).
        similarities: (B,) by feedback edge, where rule 10 compared its hand-off with that of the round before.
        questions: Which questions of the run are the turn's B, if some have stopped early; None for all.
    """

    agent: str
    round: int
    prompt_tokens: list[int]
    duration_ms: float
    thoughts: Tensor | None = None
    hand_offs: dict[str, Tensor] = field(default_factory=dict)
    texts: list[str] | None = None
    kept_positions: list[int] = field(default_factory=list)
    similarities: dict[str, list[float]] = field(default_factory=dict)
    questions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """Answers to a batch of questions.

    Attributes:
        texts: B answers.
        token_ids: B lists, stop token excluded.
        decoded_tokens: (B,) tokens that any agent sampled, stop tokens excluded.
        forward_positions: (B,) positions that any agent read (rule 9).
        duration_ms: Wall time of the whole batch.
        turns: What each agent did in each round, in order.
        stops: (B,) where each question stopped early; None where it took all rounds. Empty without early stopping.
        similarities: (B,) how alike each round and the one before were, from round 2 on (rule 10).
    """

    texts: list[str]
    token_ids: list[list[int]]
    decoded_tokens: list[int]
    forward_positions: list[int]
    duration_ms: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    stops: list[EarlyStop | None] = field(default_factory=list)
    similarities: list[list[float]] = field(default_factory=list)

    @property
    def kept_positions(self) -> list[int]:
        """(B,) those of the forward positions that were not computed again (rule 3)."""
        total = [0] * len(self.texts)
        for turn in self.turns:
            indices = range(len(turn.prompt_tokens)) if turn.questions is None else turn.questions
            for index, count in zip(indices, turn.kept_positions, strict=False):  # a turn that keeps nothing has none
                total[index] += count
        return total


@dataclass(frozen=True)
class Answer:
    """The deciding agent's answers to a batch.

    Attributes:
        texts: B answers.
        ids: B lists of ids.
        sampled: (B,) tokens sampled for them.
        forward_positions: (B,) positions fed for them.
    """

    texts: list[str]
    ids: list[list[int]]
    sampled: list[int]
    forward_positions: list[int]
