"""The recursion over any graph of agents: the reference that training and every check use.

Source: arXiv 2604.25917; docs/recursion.md states each rule, by number. Nothing here knows a pattern's name. Rounds
count from 0; what people read counts from 1 (`round_number`). Shape letters: B batch, T positions, M latent steps, D
hidden size.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recursivemas.system.completeness import is_complete
from recursivemas.system.errors import InputError
from recursivemas.system.names import Mode
from recursivemas.system.prompt import Text
from recursivemas.system.questions import Asked, check_fields
from recursivemas.system.settings import AnswerRetry
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.early_stopping import StoppingRun
from recursivemas.training.kept import KeptPrefixes
from recursivemas.training.links import Links
from recursivemas.training.rollout import (
    Context,
    Ends,
    Inner,
    Interjection,
    Sampler,
    Written,
    begin,
    extend,
    not_finite,
    think,
    write,
)
from recursivemas.training.tools import ToolAccess, answer_call
from recursivemas.training.turns import ANSWER_ROOM, Answer, Answers, Turn, steps_of
from recursivemas.training.window import check_window

__all__ = [
    "Answers",
    "HandOff",
    "HandOffHook",
    "Listener",
    "Observer",
    "Opening",
    "Recursion",
    "Turn",
    "Unrolled",
    "round_number",
    "steps_of",
]

HandOff: TypeAlias = Tensor | list[str]
# (edge id, round, hand-off) -> the hand-off that the receiver gets
HandOffHook: TypeAlias = Callable[[str, int, Tensor], Tensor]
# (agent, what it wrote, with states): called after every written thought of text mode
Listener: TypeAlias = Callable[[LoadedAgent, Written], None]


def round_number(round_index: int) -> int:
    """A round as people count it, in logs, traces and tables: the first is 1."""
    return round_index + 1


@dataclass(frozen=True)
class Opening:
    """The deciding agent, about to write its answer.

    Attributes:
        round: Counted from 0.
        hidden: (B, D) at the last position before the answer.
        context: What it has read and thought; may be extended.
        thoughts: (B, M, D); None if it does not think before it answers.
    """

    round: int
    hidden: Tensor
    context: Context
    thoughts: Tensor | None


@dataclass(frozen=True)
class Unrolled:
    """Rounds that run in latent space.

    Attributes:
        questions: B questions; records, if prompts show other columns than the question.
        rounds: R.
        latent_steps: M of agents that have no number of their own.
        every_round: Whether the deciding agent opens an answer in every round, not only in the last one.
        opens_from: With `every_round`, the first round that opens one, counted from 0.
        checkpointing: Recompute turns in the backward pass, except those that open an answer.
        turns: Collects what each agent did.
    """

    questions: Sequence[Asked]
    rounds: int
    latent_steps: int
    every_round: bool = False
    checkpointing: bool = False
    turns: list[Turn] | None = None
    opens_from: int = 0

    def opens(self, round_index: int) -> bool:
        """Whether a round before the last one opens an answer."""
        return self.every_round and round_index >= self.opens_from


class Observer(Protocol):
    """Sees a run while it goes on. What it raises ends the run."""

    def turn(self, turn: Turn) -> None:
        """Called after every turn."""

    def text(self, text: str) -> None:
        """Called with the answer to the first question so far, after every token of it."""


class Recursion:
    """A system with its agents and links, ready to run or to be trained.

    Attributes:
        system: The declaration.
        agents: Frozen agents by id.
        links: Their links; only text and single mode work without.
        hook: Sees and may replace every hand-off; controls and training use it.
        access: Tools that the deciding agent may use beside those that only compute.
        observer: Sees a run while it goes on.
    """

    def __init__(
        self,
        system: System,
        agents: Mapping[str, LoadedAgent],
        links: Links | None,
        hook: HandOffHook | None = None,
        access: ToolAccess | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.system, self.agents, self.links, self.hook = system, agents, links, hook
        self.access, self.observer = access or ToolAccess(), observer
        self._kept: KeptPrefixes | None = None
        self.access.check(system.deciding_agent)

    @property
    def deciding(self) -> LoadedAgent:
        """The last agent of the round, the only one that answers."""
        return self.agents[self.system.deciding_agent.id]

    def inner(self, agent: LoadedAgent) -> Inner:
        """R_in of an agent.

        Raises:
            InputError: When there are no links.
        """
        if self.links is None:
            raise InputError(
                f"system {self.system.name!r} needs links for this mode; pass --links, or use text or single"
            )
        return self.links.inner[agent.agent.id]

    def prompts(
        self,
        agent: LoadedAgent,
        round_index: int,
        questions: Sequence[Asked],
        hand_offs: Mapping[str, HandOff],
        alone: bool = False,
    ) -> list[Tensor]:
        """Filled prompts of a turn as B tensors (T_b, D); a slot without a hand-off is empty (rules 2, 4 and 7)."""
        rows = []
        for index, question in enumerate(questions):
            parts = []
            for segment in agent.filled(round_index, question, alone):
                if isinstance(segment, Text):
                    ids = agent.token_ids(segment.text)
                    parts.append(agent.embed(ids))
                elif (handed := hand_offs.get(segment.edge)) is not None:
                    given = handed[index]
                    parts.append(agent.embed(agent.token_ids(given)) if isinstance(given, str) else given)
            rows.append(torch.cat([part.to(agent.device, agent.dtype) for part in parts]))
        return rows

    def begin(self, agent: LoadedAgent, prompts: Sequence[Tensor], more: int = 0) -> tuple[Tensor, Context]:
        """Reads filled prompts; returns h_1, (B, D), and what the agent has read.

        Args:
            agent: The agent.
            prompts: B tensors (T_b, D).
            more: How many positions will follow, as far as anybody knows.
        """
        return begin(agent, prompts, more) if self._kept is None else self._kept.begin(agent, prompts, more)

    def hand_off(self, agent: LoadedAgent, round_index: int, thoughts: Tensor) -> dict[str, Tensor]:
        """R_out(R_in(H)) for every outgoing edge, (B, M, D) to (B, M, D_target) float32."""
        embedded = self.inner(agent)(thoughts)  # (B, M, D)
        assert self.links is not None
        handed: dict[str, Tensor] = {}
        for edge in self.system.outgoing(agent.agent.id):
            value = self.links.outer[edge.id](embedded)  # (B, M, D_target)
            handed[edge.id] = value if self.hook is None else self.hook(edge.id, round_index, value)
        return handed

    def open_answer(
        self, agent: LoadedAgent, prompts: Sequence[Tensor], latent_steps: int, round_index: int
    ) -> Opening:
        """Reads the prompt, thinks `latent_steps` latent thoughts (0: none) and reads the answer prefix (rule 5)."""
        hidden, context = self.begin(agent, prompts, latent_steps + ANSWER_ROOM)  # (B, D)
        thoughts = None
        if latent_steps:
            inner = self.inner(agent)
            thoughts = think(agent, inner, hidden, context, latent_steps)  # (B, M, D)
            hidden = extend(agent, context, inner(thoughts[:, -1])[:, None])[:, -1]  # feeds R_in(h_M), (B, 1, D)
        hidden = self.read(agent, hidden, context, self.system.decoding.answer_prefix)
        return Opening(round_index, hidden, context, thoughts)

    def read(self, agent: LoadedAgent, hidden: Tensor, context: Context, text: str) -> Tensor:
        """Feeds the same text to every sample; returns the last hidden state, (B, D), unchanged if there is no text."""
        ids = agent.token_ids(text) if text else []
        if not ids:
            return hidden
        embeds = agent.embed(ids)[None].expand(len(hidden), -1, -1)  # (B, T, D)
        return extend(agent, context, embeds)[:, -1]

    def openings(self, asked: Unrolled) -> Iterator[Opening]:
        """Runs the rounds in latent space, differentiably with respect to every link; subclasses change how.

        Yields:
            The deciding agent's openings: one, or one a round.
        """
        thinks_before = self.system.decoding.think_before_answer
        hand_offs: dict[str, Tensor] = {}
        for round_index, agent, final in self.order(asked.rounds):
            began = time.perf_counter()
            prompts = self.prompts(agent, round_index, asked.questions, hand_offs)
            thoughts, handed = None, {}
            steps = steps_of(agent, asked.latent_steps)
            if final or (asked.opens(round_index) and agent is self.deciding):
                opening = self.open_answer(agent, prompts, steps if thinks_before else 0, round_index)
                thoughts = opening.thoughts
                yield opening
            if not final:
                if thoughts is None:
                    thoughts = self._think(agent, prompts, steps, asked.checkpointing)
                handed = self.hand_off(agent, round_index, thoughts)
                hand_offs |= handed
            if asked.turns is not None:
                lengths = [len(prompt) for prompt in prompts]
                turn = Turn(agent.agent.id, round_index, lengths, _elapsed_ms(began), thoughts, handed)
                self.take_turn(turn, asked.turns)

    def among(self, rows: Sequence[int]) -> "Recursion":
        """The same run for some of its batch's questions, by their rows."""
        own = copy.copy(self)
        own._kept = None if self._kept is None else self._kept.rows(rows)
        return own

    def take_turn(self, turn: Turn, turns: list[Turn]) -> None:
        """Adds a turn that has been taken, with what it kept, and shows it to the observer."""
        if self._kept is not None:
            counts = self._kept.counts(self.agents[turn.agent], turn.round, turn.prompt_tokens)
            turn = replace(turn, kept_positions=counts)
        turns.append(turn)
        if self.observer is not None:
            self.observer.turn(turn)

    def order(self, rounds: int) -> Iterator[tuple[int, LoadedAgent, bool]]:
        """Every turn of a run: its round, its agent, and whether it is the one that answers (rule 1)."""
        for round_index in range(rounds):
            for agent in (self.agents[each.id] for each in self.system.agents):
                yield round_index, agent, agent is self.deciding and round_index == rounds - 1

    def _think(self, agent: LoadedAgent, prompts: Sequence[Tensor], latent_steps: int, checkpointing: bool) -> Tensor:
        def turn(*rows: Tensor) -> Tensor:
            first, context = self.begin(agent, rows, latent_steps)
            return think(agent, self.inner(agent), first, context, latent_steps)

        if not checkpointing:
            return turn(*prompts)
        result: Tensor = checkpoint(turn, *prompts, use_reentrant=False)
        return result

    @torch.no_grad()
    def run(
        self,
        questions: Sequence[Asked],
        rounds: int | None = None,
        latent_steps: int | None = None,
        mode: Mode = "latent",
        sampler: Sampler | None = None,
        listener: Listener | None = None,
        threshold: float | None = None,
    ) -> Answers:
        """Answers a batch of questions.

        Args:
            questions: B questions; records, if prompts show other columns than the question.
            rounds: R; the system's by default.
            latent_steps: M of agents that have no number of their own; the system's by default.
            mode: latent, or one of the baselines (rules 6 and 7).
            sampler: How tokens are picked; the system's decoding settings by default.
            listener: Called after every written thought of text mode.
            threshold: In latent mode, the similarity of two rounds at which a question stops early (rule 10); infinity
                compares and never stops. None for no early stopping.

        Raises:
            InputError: When a question lacks a column that a prompt shows, prompt and thoughts do not fit an agent's
                checkpoint, or an agent computes NaN or infinity.
        """
        rounds, latent_steps = rounds or self.system.rounds, latent_steps or self.system.default_latent_steps
        check_fields(self.system, questions)
        check_window(self.system, self.agents, questions, rounds, latent_steps, mode)
        sampler = sampler or self.sampler()
        began = time.perf_counter()
        own = copy.copy(self)  # what is kept belongs to this run alone
        if mode in ("latent", "text"):
            own._kept = self.kept(questions, rounds)
        if mode == "text":
            answers = own._run_text(questions, rounds, latent_steps, sampler, listener)
        elif mode == "latent" and threshold is not None and any(edge.feedback for edge in self.system.edges):
            answers = StoppingRun(own, questions, latent_steps, sampler, threshold).perform(rounds)
        else:
            answers = own._run_latent(questions, rounds, latent_steps, mode, sampler)
        return replace(answers, duration_ms=_elapsed_ms(began))

    def kept(self, questions: Sequence[Asked], rounds: int) -> KeptPrefixes:
        """What the agents keep during a run (rule 3); a subclass may keep it for other runs, too."""
        return KeptPrefixes(self.agents, questions, rounds)

    def sampler(self, seed: int | None = None) -> Sampler:
        """The sampler of the system's decoding settings."""
        decoding = self.system.decoding
        generator = torch.Generator(self.deciding.device).manual_seed(decoding.seed if seed is None else seed)
        return Sampler(decoding.temperature, decoding.top_p, generator, decoding.top_k, decoding.repetition_penalty)

    def answer(self, hidden: Tensor, context: Context, sampler: Sampler) -> Answer:
        """Decodes the answer; a tool that is called answers into the context (rule 8)."""
        agent, tools, decoding = self.deciding, self.deciding.agent.tools, self.system.decoding
        most = decoding.max_tool_calls

        def interject(ids: Sequence[int], calls: int) -> Interjection | None:
            result = answer_call(agent.decode(ids), tools, self.access, calls, most)
            last = most is not None and calls >= most
            return None if result is None else Interjection(agent.token_ids(result), last)

        written = write(
            *(agent, hidden, context, decoding.max_new_tokens, sampler),
            interject=interject if tools else None,
            ends=self._shown_ends if self.observer is not None and len(hidden) == 1 else self._ends_or_none,
        )
        texts = [self._answer_text(ids) for ids in written.ids]
        answer = Answer(texts, written.ids, written.sampled, written.forward_positions)
        return answer if decoding.answer_retry is None else self._retried(answer, decoding.answer_retry, sampler)

    def _retried(self, answer: Answer, retry: AnswerRetry, sampler: Sampler) -> Answer:
        """Goes on from the text of each answer that is not complete, in an empty context (rule 5)."""
        open_ones = [index for index, text in enumerate(answer.texts) if not is_complete(text, retry.needs)]
        if not open_ones:
            return answer
        agent = self.deciding
        read = [answer.texts[index].rstrip() + retry.append for index in open_ones]
        prompts = [agent.token_ids(text) for text in read]
        hidden, context = begin(agent, [agent.embed(ids) for ids in prompts])
        written = write(
            *(agent, hidden, context, retry.max_new_tokens, sampler),
            ends=self._ends_or_none,
            before=prompts,
        )
        texts, ids = list(answer.texts), list(answer.ids)
        sampled, positions = list(answer.sampled), list(answer.forward_positions)
        for at, index in enumerate(open_ones):
            texts[index] = (read[at] + self._until_stop(agent.raw_text(written.ids[at]))).strip()
            ids[index] = prompts[at] + written.ids[at]
            sampled[index] += written.sampled[at]
            positions[index] += len(prompts[at]) + written.forward_positions[at]
        return Answer(texts, ids, sampled, positions)

    @property
    def _ends_or_none(self) -> Ends | None:
        return self._ends if self.system.decoding.stop_strings else None

    def _ends(self, ids: Sequence[int]) -> bool:
        return self._stop(self.deciding.raw_text(ids)) is not None

    def _shown_ends(self, ids: Sequence[int]) -> bool:
        """Shows the answer so far to the observer; the end is that of `_ends`."""
        assert self.observer is not None
        self.observer.text(self._answer_text(ids))
        return self._ends(ids)

    def _stop(self, text: str) -> int | None:
        """Where the first stop string in an answer begins; None if there is none."""
        places = [place for stop in self.system.decoding.stop_strings if (place := text.find(stop)) >= 0]
        return min(places, default=None)

    def _answer_text(self, ids: Sequence[int]) -> str:
        """The text of an answer, up to the first stop string."""
        return self._until_stop(self.deciding.raw_text(ids)).strip()

    def _until_stop(self, text: str) -> str:
        return text[: self._stop(text)]

    def _run_latent(
        self, questions: Sequence[Asked], rounds: int, latent_steps: int, mode: Mode, sampler: Sampler
    ) -> Answers:
        """Latent mode, and the deciding agent alone: looped, or without any thought (rule 7)."""
        turns: list[Turn] = []
        if mode == "latent":
            (opening,) = self.openings(Unrolled(questions, rounds, latent_steps, turns=turns))
        else:
            began = time.perf_counter()
            each_round = sum(steps_of(agent, latent_steps) for agent in self.agents.values())
            steps = rounds * each_round if mode == "loop" else 0
            prompts = self.prompts(self.deciding, 0, questions, {}, alone=True)
            opening = self.open_answer(self.deciding, prompts, steps, 0)
            lengths = [len(prompt) for prompt in prompts]
            turn = Turn(self.deciding.agent.id, 0, lengths, _elapsed_ms(began), opening.thoughts)
            self.take_turn(turn, turns)
        self.check_finite(turns)
        answer = self.answer(opening.hidden, opening.context, sampler)
        thoughts = sum(turn.thoughts.shape[1] for turn in turns if turn.thoughts is not None)
        # Every turn but the last one stops at h_M, whose R_in is handed over instead of being fed.
        beside_prompts = thoughts - (len(turns) - 1) + self.prefix_tokens()
        return Answers(
            texts=answer.texts,
            token_ids=answer.ids,
            decoded_tokens=answer.sampled,
            forward_positions=[
                sum(turn.prompt_tokens[index] for turn in turns) + beside_prompts + fed
                for index, fed in enumerate(answer.forward_positions)
            ],
            turns=turns,
        )

    def check_finite(self, turns: Sequence[Turn]) -> None:
        """Names the first agent that handed over NaN or infinity; the answer of the deciding agent is checked later."""
        for turn in turns:
            agent = self.agents[turn.agent]
            if turn.thoughts is not None and turn.hand_offs and not turn.thoughts.isfinite().all():
                raise not_finite(agent, "its latent thoughts are")
            for edge, states in turn.hand_offs.items():
                if not states.isfinite().all():
                    raise not_finite(agent, f"what its links hand over on {edge!r} is")

    def _run_text(
        self, questions: Sequence[Asked], rounds: int, latent_steps: int, sampler: Sampler, listener: Listener | None
    ) -> Answers:
        """Text mode: agents write to each other (rule 6)."""
        decoded, positions = [0] * len(questions), [0] * len(questions)
        hand_offs: dict[str, HandOff] = {}
        turns: list[Turn] = []
        for round_index, agent, final in self.order(rounds):
            began = time.perf_counter()
            prompts = self.prompts(agent, round_index, questions, hand_offs)
            budget = self.system.decoding.text_tokens or steps_of(agent, latent_steps)
            thought, answer = self._write_turn(agent, prompts, final, budget, sampler, listener)
            pieces: list[Written | Answer] = [piece for piece in (thought, answer) if piece is not None]
            texts = [] if answer is None else answer.texts
            if thought is not None:
                texts = [agent.decode(ids) for ids in thought.ids]
            hand_offs |= {edge.id: texts for edge in self.system.outgoing(agent.agent.id)}
            prefix = self.prefix_tokens() if final else 0
            lengths = [len(prompt) for prompt in prompts]
            for index, length in enumerate(lengths):
                decoded[index] += sum(piece.sampled[index] for piece in pieces)
                positions[index] += length + prefix + sum(piece.forward_positions[index] for piece in pieces)
            turn = Turn(agent.agent.id, round_index, lengths, _elapsed_ms(began), texts=texts)
            self.take_turn(turn, turns)
        assert answer is not None
        return Answers(answer.texts, answer.ids, decoded, positions, turns=turns)

    def _write_turn(
        self,
        agent: LoadedAgent,
        prompts: Sequence[Tensor],
        final: bool,
        budget: int,
        sampler: Sampler,
        listener: Listener | None = None,
    ) -> tuple[Written | None, Answer | None]:
        """What an agent writes in one turn: a thought of at most `budget` tokens, the answer, or both in this order."""
        decoding = self.system.decoding
        hidden, context = self.begin(agent, prompts, budget)
        thought = answer = None
        if not final or decoding.think_before_answer:
            keep_states = listener is not None
            thought = write(agent, hidden, context, budget, sampler, keep_last=final, keep_states=keep_states)
            hidden = thought.hidden
            if listener is not None:
                listener(agent, thought)
        if final:
            hidden = self.read(agent, hidden, context, decoding.answer_prefix)
            answer = self.answer(hidden, context, sampler)
        return thought, answer

    def prefix_tokens(self) -> int:
        """How many tokens the answer prefix has."""
        return len(self.deciding.token_ids(self.system.decoding.answer_prefix))


def _elapsed_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
