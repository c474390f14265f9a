"""A system that is loaded and can be asked. Agents and links compute in PyTorch; docs/recursion.md has the rules."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from recursivemas.api.answer import Answer, EarlyStop, Trace, Turn
from recursivemas.api.evaluation import (
    Control,
    Evaluation,
    Questions,
    Rows,
    evaluate_grid,
    read_questions,
    threshold_of,
)
from recursivemas.api.extras import require
from recursivemas.system.errors import InputError
from recursivemas.system.links_file import load_links
from recursivemas.system.names import MAX_LATENT_STEPS, MAX_ROUNDS, MODES, Device, Mode, Precision, Weights
from recursivemas.system.progress import Progress, unseen
from recursivemas.system.questions import QuestionRecord, check_fields
from recursivemas.system.system import System, load_system

if TYPE_CHECKING:
    from recursivemas.training import recursion as reference

Event: TypeAlias = Turn | str | Answer
T = TypeVar("T")


def load(
    system: str | Path,
    links: str | Path | None = None,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights | None = None,
    python: bool = False,
    search: Sequence[str] | None = None,
) -> "LoadedSystem":
    """Loads a system's agents and links into PyTorch.

    Args:
        system: The system's YAML file.
        links: Its `recursivelink.json`; the modes `text` and `single` need none.
        device: Where to compute; `auto` is CUDA if available.
        precision: Dtype of the agents; `auto` is bfloat16 where CUDA supports it, else float32. Links compute in
            float32.
        weights: `checkpoint`, or `dequantised`: the weights that a build stores. By default those that the system's
            links train with, `training.weights`.
        python: Whether the agent's tool `python` may run programs, in a limited process.
        search: The words of a command for the agent's tool `search`; it reads a query from standard input.

    Raises:
        InputError: A file is missing or wrong, links do not fit the agents, or PyTorch is not installed.
    """
    require("torch")
    from recursivemas.training.loading import load_recursion
    from recursivemas.training.tools import ToolAccess

    declared = load_system(system)
    file = None if links is None else load_links(links)
    access = ToolAccess(python, None if search is None else tuple(search))
    chosen = declared.reference_weights(weights)
    recursion = load_recursion(declared, file, device, precision, chosen, access)
    return LoadedSystem(recursion, None if links is None else Path(links), chosen)


@dataclass(frozen=True)
class _Request:
    """What one run is asked for."""

    asked: QuestionRecord
    mode: Mode
    rounds: int
    latent_steps: int
    temperature: float | None
    seed: int | None
    threshold: float | None


class LoadedSystem:
    """Agents and links in memory; `load` makes it.

    Attributes:
        declared: What the YAML file says.
        links: The link file; None without links.
        weights: Which weights the agents have.
    """

    def __init__(self, recursion: "reference.Recursion", links: Path | None, weights: Weights) -> None:
        self._recursion, self.links, self.weights = recursion, links, weights
        self.declared: System = recursion.system

    def __repr__(self) -> str:
        """The system's name and its agents."""
        return f"<LoadedSystem {self.declared.name!r}: {', '.join(each.id for each in self.declared.agents)}>"

    def ask(
        self,
        question: str,
        *,
        mode: Mode = "latent",
        rounds: int | None = None,
        latent_steps: int | None = None,
        fields: Mapping[str, str] | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        early_stopping: bool | float = False,
    ) -> Answer:
        """Asks one question.

        Args:
            question: The question.
            mode: `latent`, or a baseline: `text`, `single` or `loop`.
            rounds: R, at least 1; the system's by default.
            latent_steps: M of agents that have no number of their own, at least 1; the system's by default.
            fields: Other columns of the question that prompts show, by name.
            temperature: Of decoding; 0 picks the likeliest token. The system's by default.
            seed: Of sampling; the system's by default.
            early_stopping: Whether a run in latent mode may end before its last round: `True` at the system's
                threshold, or a threshold above 0 and at most 1 (docs/recursion.md, rule 10).

        Returns:
            The answer with its trace.

        Raises:
            InputError: A number is out of range, a prompt needs a column that is missing, the mode needs links, or
                prompt and thoughts do not fit an agent's context.
        """
        request = self._request(question, mode, rounds, latent_steps, fields, temperature, seed, early_stopping)
        return self._run(request, None)

    def stream(
        self,
        question: str,
        *,
        mode: Mode = "latent",
        rounds: int | None = None,
        latent_steps: int | None = None,
        fields: Mapping[str, str] | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        early_stopping: bool | float = False,
    ) -> Iterator[Event]:
        """Asks one question and shows what happens meanwhile. It takes the arguments of `ask`.

        Closing the iterator ends the run before its next turn or token.

        Yields:
            A `Turn` after each turn, the answer's text in pieces (`str`), and at last the `Answer`. Where an answer was
            changed after it was written, the pieces stop short and the `Answer` has the whole text.

        Raises:
            InputError: As in `ask`.
        """
        request = self._request(question, mode, rounds, latent_steps, fields, temperature, seed, early_stopping)
        return _events(lambda observer: self._run(request, observer), self._turn)

    def evaluate(
        self,
        data: str | Path | Rows | Questions | None = None,
        *,
        mode: Mode | Sequence[Mode] = "latent",
        rounds: int | Sequence[int] | None = None,
        latent_steps: int | Sequence[int] | None = None,
        control: Control | Sequence[Control] = "none",
        temperature: float | None = None,
        seed: int = 0,
        limit: int | None = None,
        batch_size: int = 128,
        progress: Callable[[str], Progress] | None = None,
        early_stopping: bool | float | Sequence[bool | float] = False,
    ) -> Evaluation:
        """Asks every question of a data set in every chosen combination of mode, rounds, latent steps and control.

        Args:
            data: JSONL, JSON or CSV file, Hub data set `owner/name:split`, or rows with the columns `question` and
                `answer`, or what `read_questions` has read; the system's task by default.
            mode: One mode or several.
            rounds: R, one or several; the system's by default.
            latent_steps: M, one or several; the system's by default.
            control: What is done to hand-offs in latent mode: `none`, `zeros` or `other_question`; one or several.
            temperature: Of decoding; the system's by default.
            seed: Of sampling.
            limit: Ask only this many questions, from the first.
            batch_size: Questions at a time.
            progress: Called with the name of each combination; returns what is called with (questions done, all).
            early_stopping: As in `ask`, one or several: `[False, True]` measures what it saves.

        Returns:
            Accuracy with 95% intervals, decoded tokens, forward positions and time of each combination.

        Raises:
            InputError: There are no questions, a name is unknown, or a number is out of range.
        """
        modes = [_mode(each) for each in ([mode] if isinstance(mode, str) else mode)]
        declared = self.declared
        questions = self._questions(data)
        records = questions.records[:limit]
        cells = evaluate_grid(
            self._recursion,
            records,
            modes,
            [_checked(each, "rounds", MAX_ROUNDS) for each in _several(declared.rounds if rounds is None else rounds)],
            [
                _checked(each, "latent_steps", MAX_LATENT_STEPS)
                for each in _several(declared.default_latent_steps if latent_steps is None else latent_steps)
            ],
            _several(control),
            temperature,
            seed,
            batch_size,
            progress or (lambda _name: unseen),
            [threshold_of(declared, each) for each in _several(early_stopping)],
        )
        return Evaluation(declared, self.links, self.weights, questions.source, seed, tuple(cells), tuple(records))

    def _questions(self, data: str | Path | Rows | Questions | None) -> Questions:
        if data is None:
            data = self.declared.task.data if self.declared.task is not None else None
        if data is None:
            raise InputError(f"system {self.declared.name!r} names no questions; set task.data or pass data")
        return data if isinstance(data, Questions) else read_questions(data)

    def _request(
        self,
        question: str,
        mode: Mode,
        rounds: int | None,
        latent_steps: int | None,
        fields: Mapping[str, str] | None,
        temperature: float | None,
        seed: int | None,
        early_stopping: bool | float,
    ) -> _Request:
        declared = self.declared
        asked = QuestionRecord.of_row({**(fields or {}), "question": question, "answer": ""}, "the question")
        check_fields(declared, [asked])
        if temperature is not None and temperature < 0:
            raise InputError(f"temperature: expected at least 0, got {temperature}")
        return _Request(
            asked,
            _mode(mode),
            _checked(declared.rounds if rounds is None else rounds, "rounds", MAX_ROUNDS),
            _checked(
                declared.default_latent_steps if latent_steps is None else latent_steps,
                "latent_steps",
                MAX_LATENT_STEPS,
            ),
            temperature,
            seed,
            threshold_of(declared, early_stopping),
        )

    def _run(self, request: _Request, observer: "reference.Observer | None") -> Answer:
        from recursivemas.training.recursion import Recursion, round_number

        base, mode = self._recursion, request.mode
        recursion = Recursion(base.system, base.agents, base.links, base.hook, base.access, observer)
        sampler = recursion.sampler(request.seed)
        if request.temperature is not None:
            sampler = replace(sampler, temperature=request.temperature)
        answers = recursion.run(
            [request.asked], request.rounds, request.latent_steps, mode, sampler, threshold=request.threshold
        )
        stop = answers.stops[0] if answers.stops else None
        declared = self.declared
        rounds = request.rounds if next(each for each in MODES if each.name == mode).rounds else 1
        turns = tuple(self._turn(turn) for turn in answers.turns)
        return Answer(
            system=declared.name,
            question=request.asked.question,
            answer=answers.texts[0],
            mode=mode,
            rounds=rounds if stop is None else round_number(stop.round),
            latent_steps=request.latent_steps,
            token_ids=tuple(answers.token_ids[0]),
            decoded_tokens=answers.decoded_tokens[0],
            forward_positions=answers.forward_positions[0],
            duration_ms=answers.duration_ms,
            early_stop=None if stop is None else EarlyStop(round_number(stop.round), rounds, stop.similarity),
            trace=Trace({each.id: each.role for each in declared.agents}, declared.edges, turns),
        )

    def _turn(self, turn: "reference.Turn") -> Turn:
        from recursivemas.training.recursion import round_number
        from recursivemas.training.trace import lens

        thoughts = None if turn.thoughts is None else turn.thoughts[0]  # (M, D)
        return Turn(
            agent=turn.agent,
            round=round_number(turn.round),
            prompt_tokens=turn.prompt_tokens[0],
            duration_ms=turn.duration_ms,
            thoughts=None if thoughts is None else thoughts.float().cpu().numpy(),
            words=() if thoughts is None else tuple(lens(self._recursion, turn.agent, thoughts)),
            hand_offs={edge: value[0].float().cpu().numpy() for edge, value in turn.hand_offs.items()},
            text=turn.texts[0] if turn.texts else None,
        )


class _Closed(Exception):  # noqa: N818 - no error: it ends a run that nobody listens to
    """Nobody reads the events any more."""


class _Events:
    """Sees a run from its own thread and passes on what happens."""

    def __init__(self, put: Callable[[Event], None], turn_of: "Callable[[reference.Turn], Turn]") -> None:
        self._put, self._turn_of, self._shown = put, turn_of, ""

    def turn(self, turn: "reference.Turn") -> None:
        """Passes on a turn."""
        self._put(self._turn_of(turn))

    def text(self, text: str) -> None:
        """Passes on what is new in the answer; a character that is not complete yet waits."""
        whole = text.rstrip("\N{REPLACEMENT CHARACTER}")
        if whole.startswith(self._shown) and len(whole) > len(self._shown):
            self._put(whole[len(self._shown) :])
            self._shown = whole

    def rest(self, answer: Answer) -> None:
        """Passes on what the answer has beyond the pieces."""
        self.text(answer.answer)


def _events(
    run: "Callable[[reference.Observer], Answer]", turn_of: "Callable[[reference.Turn], Turn]"
) -> Iterator[Event]:
    """Runs in a thread of its own, one event ahead at most of who reads."""
    ready: queue.Queue[Event | BaseException] = queue.Queue()
    closed = threading.Event()

    def put(event: Event) -> None:
        if closed.is_set():
            raise _Closed
        ready.put(event)

    def work() -> None:
        events = _Events(put, turn_of)
        try:
            answer = run(events)
            events.rest(answer)
            put(answer)
        except _Closed:
            pass
        except BaseException as error:
            ready.put(error)

    def read() -> Iterator[Event]:
        thread = threading.Thread(target=work, name="recursivemas-stream", daemon=True)
        thread.start()
        try:
            while True:
                event = ready.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, Answer):
                    return
        finally:
            closed.set()
            thread.join()

    return read()


def _several(value: T | Sequence[T]) -> list[T]:
    """One value or several as a list; a text is one."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return [value]


def _mode(name: str) -> Mode:
    """Checks the name of a mode."""
    for each in MODES:
        if each.name == name:
            return each.name
    raise InputError(f"mode {name!r} is unknown; expected one of {', '.join(each.name for each in MODES)}")


def _checked(number: int, name: str, most: int) -> int:
    """Checks a number of rounds or steps."""
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
        raise InputError(f"{name}: expected a whole number from 1 to {most}, got {number!r}")
    return number
