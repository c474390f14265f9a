"""One cell of `rmas eval`: accuracy, decoded tokens, forward positions and time of a mode, rounds and latent steps.

Source: arXiv 2604.25917, evaluation. The baselines are modes (docs/recursion.md, rules 6 and 7); a control changes what
is handed over, never the questions.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from recursivemas.system.errors import InputError
from recursivemas.system.names import Mode
from recursivemas.system.progress import Progress, unseen
from recursivemas.system.prompt import field_names, parse_template
from recursivemas.system.questions import Asked, QuestionRecord, check_fields
from recursivemas.system.system import System
from recursivemas.training.evaluation.statistics import wilson
from recursivemas.training.processes import batch_seed, place, share
from recursivemas.training.recursion import Answers, HandOffHook, Recursion, steps_of
from recursivemas.training.tasks.scoring import is_right
from recursivemas.training.window import check_window

Control = Literal["none", "zeros", "other_question"]


# What tables show of a cell, in order.
COLUMNS = (
    *("mode", "rounds", "latent_steps", "temperature", "control", "questions", "right", "accuracy", "low", "high"),
    *("decoded_tokens", "forward_positions", "kept_positions", "time_ms", "by_group"),
)
EARLY_COLUMNS = ("threshold", "mean_rounds", "saved_positions")
"""What tables show of a cell with early stopping beside those."""


@dataclass(frozen=True)
class Cell:
    """One measured combination.

    Attributes:
        mode: How the agents worked together, or a baseline.
        rounds: R.
        latent_steps: M.
        temperature: Of the sampler; 0 is greedy, None what each agent's checkpoint says.
        control: What was done to hand-offs.
        decoded_tokens: Mean sampled tokens a question.
        forward_positions: Mean positions that any agent read for a question: the budget in which modes compare.
        time_ms: Mean wall time a question, in batches.
        by_group: Accuracy by the questions' group.
        correct: Whether each question was answered correctly.
        answers: What the system answered to each question.
        kept_positions: Mean of those forward positions that were not computed again, because the agent still had them.
        threshold: Of early stopping; None if every question takes all rounds.
        outcomes: What early stopping did to each question; empty without it.
    """

    mode: Mode
    rounds: int
    latent_steps: int
    temperature: float | None
    control: Control
    decoded_tokens: float
    forward_positions: float
    time_ms: float
    by_group: dict[str, float]
    correct: tuple[bool, ...]
    answers: tuple[str, ...] = ()
    kept_positions: float = 0.0
    threshold: float | None = None
    outcomes: "tuple[Stopped, ...]" = ()

    @property
    def mean_rounds(self) -> float:
        """Mean rounds that a question took."""
        return sum(each.rounds for each in self.outcomes) / self.questions if self.outcomes else float(self.rounds)

    @property
    def saved_positions(self) -> float:
        """Mean forward positions that a question saved: those of the rounds that it did not take."""
        return sum(each.saved_positions for each in self.outcomes) / self.questions

    @property
    def questions(self) -> int:
        """Questions asked."""
        return len(self.correct)

    @property
    def right(self) -> int:
        """Questions answered correctly."""
        return sum(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of questions answered correctly."""
        return self.right / self.questions

    @property
    def low(self) -> float:
        """Lower end of the accuracy's 95% Wilson interval."""
        return wilson(self.right, self.questions)[0]

    @property
    def high(self) -> float:
        """Upper end of the accuracy's 95% Wilson interval."""
        return wilson(self.right, self.questions)[1]

    def row(self) -> dict[str, object]:
        """The cell as JSON, without the single answers."""
        names = COLUMNS if self.threshold is None else COLUMNS + EARLY_COLUMNS
        record = {name: getattr(self, name) for name in names}
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}

    def answered(self, records: Sequence[QuestionRecord]) -> list[dict[str, object]]:
        """Every question with the right answer, the system's answer, and whether that is right."""
        return [
            {"question": record.question, "right_answer": record.answer, "answer": answer, "correct": correct}
            for record, answer, correct in zip(records, self.answers, self.correct, strict=True)
        ]


@dataclass(frozen=True)
class Stopped:
    """What early stopping did to one question.

    Attributes:
        rounds: Rounds that it took.
        forward_positions: Positions that any agent read for it.
        saved_positions: Those of the rounds that it did not take, without the answer.
        similarities: Of each round that was compared with the one before, from round 2 on.
    """

    rounds: int
    forward_positions: int
    saved_positions: int
    similarities: tuple[float, ...]


@dataclass(frozen=True)
class _Batch:
    """What one batch of questions gave; numbers are sums over its questions."""

    texts: list[str]
    correct: list[bool]
    decoded_tokens: int
    forward_positions: int
    kept_positions: int
    duration_ms: float
    outcomes: list[Stopped]


def zeros(_edge: str, _round: int, value: Tensor) -> Tensor:
    """Control: hand-offs are zeros."""
    return torch.zeros_like(value)


def other_question(_edge: str, _round: int, value: Tensor) -> Tensor:
    """Control: every question gets its neighbour's hand-offs."""
    return value.roll(1, dims=0)


CONTROLS: dict[Control, HandOffHook | None] = {"none": None, "zeros": zeros, "other_question": other_question}


def evaluate(
    recursion: Recursion,
    records: Sequence[QuestionRecord],
    mode: Mode = "latent",
    rounds: int | None = None,
    latent_steps: int | None = None,
    control: Control = "none",
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 128,
    progress: Progress = unseen,
    threshold: float | None = None,
) -> Cell:
    """Asks every question once; several processes share the batches.

    Every batch samples with a generator of its own, so the answers do not depend on how many processes there are.

    Args:
        recursion: The system with its agents and links.
        records: Questions with right answers.
        mode: How the agents work together, or a baseline.
        rounds: R; by default the system's.
        latent_steps: M; by default the system's.
        control: What is done to hand-offs in latent mode.
        temperature: Replaces the system's own.
        seed: Of the sampler.
        batch_size: Questions at a time.
        progress: Called with (questions done, questions).
        threshold: Of early stopping, in latent mode (docs/recursion.md, rule 10); infinity compares rounds and never
            stops.

    Raises:
        InputError: When the control is `other_question` and there is no other question, there is a control of runs that
            may stop early, or a question lacks a column that a prompt shows or does not fit an agent's checkpoint.
    """
    if threshold is not None and control != "none":
        raise InputError(f"control {control!r} needs runs that take all rounds; turn early stopping off for it")
    if control == "other_question" and len(records) == 1:
        raise InputError("control 'other_question' needs at least 2 questions, got 1; give more, or leave it out")
    system = recursion.system
    check_fields(system, records)
    given = (rounds or system.rounds, latent_steps or system.default_latent_steps)
    check_window(system, recursion.agents, asked_of(system, records), *given, mode)
    scoring = system.task.scoring if system.task is not None else "exact"
    asked = copy.copy(recursion)
    asked.hook, asked.observer = CONTROLS[control] or recursion.hook, None
    sampler = asked.sampler(seed)
    if temperature is not None:
        sampler = replace(sampler, temperature=temperature)
    done = 0

    def ask(begin: int) -> _Batch:
        nonlocal done
        batch = list(records[begin : begin + batch_size])
        # A question alone in its batch has no neighbour, so the question before it joins in and is not counted.
        extra = [records[begin - 1]] if control == "other_question" and len(batch) == 1 else []
        questions = asked_of(system, [*extra, *batch])
        own = replace(sampler, generator=asked.sampler(batch_seed(seed, begin)).generator)
        answers = asked.run(questions, rounds, latent_steps, mode, own, threshold=threshold)
        texts = answers.texts[len(extra) :]
        done = min(done + len(batch) * place()[1], len(records))
        progress(done, len(records))
        return _Batch(
            texts,
            [is_right(text, record, scoring) for text, record in zip(texts, batch, strict=True)],
            sum(answers.decoded_tokens[len(extra) :]),
            sum(answers.forward_positions[len(extra) :]),
            sum(answers.kept_positions[len(extra) :]),
            answers.duration_ms * len(batch) / len(questions),
            stopped_of(asked, answers, *given),
        )

    batches = share(range(0, len(records), batch_size), ask)
    correct = [each for batch in batches for each in batch.correct]
    total = len(records)
    return Cell(
        mode=mode,
        rounds=rounds or system.rounds,
        latent_steps=latent_steps or system.default_latent_steps,
        temperature=sampler.temperature,
        control=control,
        decoded_tokens=sum(batch.decoded_tokens for batch in batches) / total,
        forward_positions=sum(batch.forward_positions for batch in batches) / total,
        kept_positions=sum(batch.kept_positions for batch in batches) / total,
        time_ms=sum(batch.duration_ms for batch in batches) / total,
        by_group=_by_group(records, correct),
        correct=tuple(correct),
        answers=tuple(text for batch in batches for text in batch.texts),
        threshold=threshold,
        outcomes=tuple(each for batch in batches for each in batch.outcomes),
    )


def stopped_of(recursion: Recursion, answers: Answers, rounds: int, latent_steps: int) -> list[Stopped]:
    """What early stopping did to each question of a batch; nothing without it."""
    found = []
    for index, (stop, similarities) in enumerate(zip(answers.stops, answers.similarities, strict=True)):
        taken = rounds if stop is None else stop.round + 1
        saved = 0 if stop is None else _saved(recursion, answers, index, stop.round, rounds - taken, latent_steps)
        found.append(Stopped(taken, answers.forward_positions[index], saved, tuple(similarities)))
    return found


def _saved(
    recursion: Recursion, answers: Answers, index: int, round_index: int, skipped: int, latent_steps: int
) -> int:
    """Positions of the rounds that a question skipped: each would have been like the one in which it stopped.

    If the deciding agent took its turn again to answer, the turn in which it thought is taken off, because a run of so
    many rounds would not have it.
    """
    turns = [turn for turn in answers.turns if turn.round == round_index and index in (turn.questions or ())]
    thought = {
        turn.agent: turn.prompt_tokens[(turn.questions or ()).index(index)]
        + steps_of(recursion.agents[turn.agent], latent_steps)
        - 1
        for turn in turns
        if turn.thoughts is not None
    }
    deciding = recursion.deciding.agent.id
    again = len([turn for turn in turns if turn.agent == deciding]) > 1
    return skipped * sum(thought.values()) - (thought[deciding] if again else 0)


def asked_of(system: System, records: Sequence[QuestionRecord]) -> list[Asked]:
    """What the agents are asked: records where a prompt shows other columns than the question, else texts."""
    templates = (template for agent in system.agents for template in agent.prompts.values())
    shown = {name for template in templates for name in field_names(parse_template(template))}
    return [record if shown - {"question"} else record.question for record in records]


def _by_group(records: Iterable[QuestionRecord], correct: Iterable[bool]) -> dict[str, float]:
    groups: dict[str, list[bool]] = {}
    for record, right in zip(records, correct, strict=True):
        if record.group is not None:
            groups.setdefault(record.group, []).append(right)
    return {group: sum(found) / len(found) for group, found in groups.items()}
