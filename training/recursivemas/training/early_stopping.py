"""Runs that end when what they hand back has stopped changing.

Source: docs/recursion.md, rule 10. In a batch every question stops for itself: it is answered at once, and the rest of
the batch goes on without it. Shape letters: B batch, M latent steps, D hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from torch import Tensor

from recursivemas.system.early_stopping import EarlyStop
from recursivemas.system.questions import Asked
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.rollout import Context, Sampler, extend, think
from recursivemas.training.turns import ANSWER_ROOM, Answer, Answers, Turn, steps_of

if TYPE_CHECKING:
    from recursivemas.training.recursion import Recursion


def similarity(now: Tensor, before: Tensor) -> Tensor:
    """The least cosine of the positions of two hand-offs on one edge, (B, M, D) each, as (B,) float64.

    The cosine with a row of zeros is 0.
    """
    now, before = now.double(), before.double()
    lengths = now.norm(dim=-1) * before.norm(dim=-1)  # (B, M)
    cosines = (now * before).sum(-1) / lengths.masked_fill(lengths == 0, 1.0)
    least: Tensor = cosines.clamp(-1, 1).amin(-1)
    return least


@dataclass
class _Outcome:
    """What a question has led to so far.

    Attributes:
        positions: Forward positions (rule 9).
        similarities: Of each round that was compared, from round 2 on.
        stop: Where it stopped early.
    """

    positions: int = 0
    similarities: list[float] = field(default_factory=list)
    stop: EarlyStop | None = None
    text: str = ""
    ids: list[int] = field(default_factory=list)
    sampled: int = 0


class StoppingRun:
    """One batch in latent mode whose questions may stop early.

    Args:
        recursion: Belongs to this run alone.
        questions: B questions.
        latent_steps: M of agents that have no number of their own.
        sampler: How tokens are picked.
        threshold: The similarity at which a question stops; infinity compares but never stops.
    """

    def __init__(
        self,
        recursion: "Recursion",
        questions: Sequence[Asked],
        latent_steps: int,
        sampler: Sampler,
        threshold: float,
    ) -> None:
        self._recursion, self._questions, self._steps = recursion, questions, latent_steps
        self._sampler, self._threshold = sampler, threshold
        self._outcomes = [_Outcome() for _ in questions]
        self._active = list(range(len(questions)))
        self._hand_offs: dict[str, Tensor] = {}
        self._alike: dict[str, Tensor] = {}
        self._feedback = {edge.id for edge in recursion.system.edges if edge.feedback}
        self._turns: list[Turn] = []

    def perform(self, rounds: int) -> Answers:
        """Takes all turns, and answers every question in its last round."""
        for round_index, agent, final in self._recursion.order(rounds):
            if final:
                self._last_turn(agent, round_index)
            else:
                self._turn(agent, round_index)
            if not self._active:
                break
        outcomes = self._outcomes
        return Answers(
            texts=[each.text for each in outcomes],
            token_ids=[each.ids for each in outcomes],
            decoded_tokens=[each.sampled for each in outcomes],
            forward_positions=[each.positions for each in outcomes],
            turns=self._turns,
            stops=[each.stop for each in outcomes],
            similarities=[each.similarities for each in outcomes],
        )

    @property
    def _thinks_before(self) -> bool:
        return self._recursion.system.decoding.think_before_answer

    def _prompts(self, agent: LoadedAgent, round_index: int) -> list[Tensor]:
        asked = [self._questions[index] for index in self._active]
        return self._recursion.prompts(agent, round_index, asked, self._hand_offs)

    def _turn(self, agent: LoadedAgent, round_index: int) -> None:
        """A turn that thinks and hands over; the deciding agent's may go on to the answer."""
        began = perf_counter()
        recursion = self._recursion
        prompts = self._prompts(agent, round_index)
        steps = steps_of(agent, self._steps)
        hidden, context = recursion.begin(agent, prompts, steps + ANSWER_ROOM)
        thoughts = think(agent, recursion.inner(agent), hidden, context, steps)
        handed = recursion.hand_off(agent, round_index, thoughts)
        self._compare(handed)
        self._record(recursion, agent, round_index, prompts, began, self._active, thoughts, handed)
        for index, prompt in zip(self._active, prompts, strict=True):
            self._outcomes[index].positions += len(prompt) + steps - 1
        self._hand_offs |= handed
        if agent is recursion.deciding and round_index > 0:
            self._stop(agent, round_index, prompts, thoughts, context)

    def _compare(self, handed: Mapping[str, Tensor]) -> None:
        for edge in self._feedback & handed.keys() & self._hand_offs.keys():
            self._alike[edge] = similarity(handed[edge], self._hand_offs[edge])

    def _stop(
        self, agent: LoadedAgent, round_index: int, prompts: Sequence[Tensor], thoughts: Tensor, context: Context
    ) -> None:
        """Answers the questions whose round repeats the one before, and goes on with the others."""
        least = [min(values) for values in zip(*(each.tolist() for each in self._alike.values()), strict=True)]
        for index, value in zip(self._active, least, strict=True):
            self._outcomes[index].similarities.append(value)
        rows = [row for row, value in enumerate(least) if value >= self._threshold]
        if not rows:
            return
        stopped = [self._active[row] for row in rows]
        part = self._recursion.among(rows)
        if self._thinks_before:
            own = context.rows(rows)
            hidden = extend(agent, own, part.inner(agent)(thoughts[rows, -1])[:, None])[:, -1]  # feeds R_in(h_M)
            hidden = part.read(agent, hidden, own, part.system.decoding.answer_prefix)
            for index in stopped:
                self._outcomes[index].positions += 1
        else:
            began = perf_counter()
            again = [prompts[row] for row in rows]
            opening = part.open_answer(agent, again, 0, round_index)
            hidden, own = opening.hidden, opening.context
            self._record(part, agent, round_index, again, began, stopped)
            for index, prompt in zip(stopped, again, strict=True):
                self._outcomes[index].positions += len(prompt)
        self._finish(stopped, part.answer(hidden, own, self._sampler))
        for row, index in zip(rows, stopped, strict=True):
            self._outcomes[index].stop = EarlyStop(round=round_index, similarity=least[row])
        rest = [row for row in range(len(self._active)) if row not in set(rows)]
        if rest:
            self._recursion = self._recursion.among(rest)
            self._hand_offs = {edge: value[rest] for edge, value in self._hand_offs.items()}
        self._active = [self._active[row] for row in rest]

    def _last_turn(self, agent: LoadedAgent, round_index: int) -> None:
        """The deciding agent's turn in the last round: all that are left are answered."""
        began = perf_counter()
        prompts = self._prompts(agent, round_index)
        steps = steps_of(agent, self._steps) if self._thinks_before else 0
        opening = self._recursion.open_answer(agent, prompts, steps, round_index)
        self._record(self._recursion, agent, round_index, prompts, began, self._active, opening.thoughts)
        for index, prompt in zip(self._active, prompts, strict=True):
            self._outcomes[index].positions += len(prompt) + steps
        self._finish(self._active, self._recursion.answer(opening.hidden, opening.context, self._sampler))
        self._active = []

    def _finish(self, indices: Sequence[int], answer: Answer) -> None:
        prefix = self._recursion.prefix_tokens()
        for place, index in enumerate(indices):
            outcome = self._outcomes[index]
            outcome.text, outcome.ids = answer.texts[place], answer.ids[place]
            outcome.sampled = answer.sampled[place]
            outcome.positions += prefix + answer.forward_positions[place]

    def _record(
        self,
        recursion: "Recursion",
        agent: LoadedAgent,
        round_index: int,
        prompts: Sequence[Tensor],
        began: float,
        indices: Sequence[int],
        thoughts: Tensor | None = None,
        handed: Mapping[str, Tensor] | None = None,
    ) -> None:
        handed = dict(handed or {})
        turn = Turn(
            agent=agent.agent.id,
            round=round_index,
            prompt_tokens=[len(prompt) for prompt in prompts],
            duration_ms=(perf_counter() - began) * 1e3,
            thoughts=thoughts,
            hand_offs=handed,
            similarities={edge: self._alike[edge].tolist() for edge in handed if edge in self._alike},
            questions=tuple(indices),
        )
        recursion.check_finite([turn])
        recursion.take_turn(turn, self._turns)
