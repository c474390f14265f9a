"""Role texts: what each agent should write after a prompt whose slots hold text (docs/real-agents.md).

An adapter learns a role from them, and inner links learn from the hidden states there. Hand-offs have a fixed length in
latent mode, so the texts of hand-offs are padded to it. Shape letters: T positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Text
from recursivemas.system.questions import QuestionRecord
from recursivemas.system.strict import MOST_JSON_BYTES, parse_json, read_text
from recursivemas.system.system import System
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.train.outer_loop import answer_ids


class HandOffText(Closed):
    """The text of a hand-off, in a prompt that is written out."""

    hand_off: str
    """As the sender wrote it."""


class RoleText(Closed):
    """One line of a file of role texts."""

    agent: str | None = None
    """Id of the agent that writes the completion."""
    prompt: tuple[str | HandOffText, ...] | None = None
    """The prompt in pieces; without it, the agent's prompt in the system is filled in."""
    question: QuestionRecord | None = None
    """What fills it in: a question with its other columns."""
    round: int = 1
    """Round of the prompt, counted from 1."""
    hand_offs: dict[str, str] = Field(default={})
    """Texts in its slots, by edge id; a slot without text is empty."""
    completion: str
    """What the agent should write."""
    kind: Literal["hand_off", "answer"]
    """A hand-off is padded to the fixed length; after an answer comes the stop token."""


OWN_COLUMNS = frozenset({"agent", "prompt", "round", "hand_offs", "completion", "kind"})


def load_role_texts(path: Path) -> list[RoleText]:
    """Reads a JSONL file of role texts. Columns that are none of its keys belong to the question.

    Raises:
        InputError: The file is missing or empty, or a line is broken, which the error names.
    """
    what = "file; expected JSON lines of prompt (or question) and completion"
    lines = read_text(path, what, MOST_JSON_BYTES).splitlines()
    texts = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not texts:
        raise InputError(f"{path}: holds no role texts")
    return texts


def _parse(line: str, source: str) -> RoleText:
    row = parse_json(line, source)
    if not isinstance(row, Mapping):
        raise InputError(f"{source}: expected an object with prompt (or question), completion and kind")
    own = {key: value for key, value in row.items() if key in OWN_COLUMNS or "prompt" in row}
    if "prompt" not in row:
        columns = {key: value for key, value in row.items() if key not in OWN_COLUMNS}
        own["question"] = QuestionRecord.of_row({"answer": "", **columns}, source)
    text = RoleText.parse(own, source)
    if text.question is not None and text.agent is None:
        raise InputError(f'{source}: names no agent, whose prompt the question would go into; add "agent"')
    return text


@dataclass(frozen=True)
class Padding:
    """The fixed length of hand-offs.

    Attributes:
        tokens: The length; a longer completion is cut, but what an agent reads stays whole, because what it should
            write may depend on all of it. None leaves texts as they are.
        token: Id that shorter texts are filled up with; None, if the tokenizer has no token for it, leaves them short.
        by_edge: Lengths of other hand-offs than the agent's own, by edge id, if they have another length.
    """

    tokens: int | None
    token: int | None
    by_edge: Mapping[str, int] = field(default_factory=dict)

    def read(self, ids: Sequence[int], edge: str | None = None) -> list[int]:
        """The ids of a hand-off that an agent reads, at least that long; an empty one stays empty."""
        tokens = self.by_edge.get(edge, self.tokens) if edge is not None else self.tokens
        missing = 0 if tokens is None or not ids or self.token is None else tokens - len(ids)
        return [*ids, *[self.token or 0] * missing]

    def written(self, ids: Sequence[int]) -> list[int]:
        """The ids of a hand-off that an agent writes, with the fixed length."""
        return self.read(ids)[: self.tokens]


@dataclass(frozen=True)
class Lesson:
    """A role text in tokens.

    Attributes:
        agent: Id of the agent, if the text names one.
        prompt: Ids before the completion.
        completion: Ids that the agent should write.
        handed: (T,) whether a position of both together is part of a hand-off.
        hand_off: Whether the completion is a hand-off.
    """

    agent: str | None
    prompt: list[int]
    completion: list[int]
    handed: list[bool]
    hand_off: bool

    @property
    def ids(self) -> list[int]:
        """(T,) prompt and completion."""
        return [*self.prompt, *self.completion]


def lesson(agent: LoadedAgent, text: RoleText, padding: Padding, answer_prefix: str = "") -> Lesson:
    """A role text in an agent's tokens.

    Args:
        agent: The agent that writes.
        text: The text.
        padding: The fixed length of hand-offs.
        answer_prefix: Stands between prompt and answer.
    """
    answer = text.kind == "answer"
    pieces = _pieces(agent, text)
    if answer and answer_prefix:
        pieces.append(_Piece(answer_prefix))
    ids: list[int] = []
    handed: list[bool] = []
    for piece in pieces:
        new = agent.token_ids(piece.text) if piece.text else []
        new = padding.read(new, piece.edge) if piece.handed else new
        ids += new
        handed += [piece.handed] * len(new)
    before = pieces[-1].text if pieces and not pieces[-1].handed else ""
    completion = (
        answer_ids(agent, before, text.completion) if answer else padding.written(agent.token_ids(text.completion))
    )
    if answer and agent.closing_token is not None:
        completion = [*completion, agent.closing_token]
    if not ids or not completion:
        raise InputError(f"role text {text.completion!r}: prompt and completion must have at least one token each")
    return Lesson(text.agent, ids, completion, handed + [not answer] * len(completion), not answer)


@dataclass(frozen=True)
class _Piece:
    """A run of text in a prompt, or the text of a hand-off in a slot, of an edge if it is known."""

    text: str
    handed: bool = False
    edge: str | None = None


def _pieces(agent: LoadedAgent, text: RoleText) -> list[_Piece]:
    if text.prompt is not None:
        return [_Piece(each) if isinstance(each, str) else _Piece(each.hand_off, True) for each in text.prompt]
    assert text.question is not None
    return [
        _Piece(each.text) if isinstance(each, Text) else _Piece(text.hand_offs.get(each.edge, ""), True, each.edge)
        for each in agent.filled(text.round - 1, text.question)
    ]


def padding_of(system: System, agent: LoadedAgent, pad: str) -> Padding:
    """The fixed lengths of what an agent hands over and reads: the latent steps of the sender."""

    def steps(agent_id: str) -> int:
        return system.agent(agent_id).latent_steps or system.default_latent_steps

    edges = {edge.id: steps(edge.source) for edge in system.incoming(agent.agent.id)}
    filler = agent.token_ids(pad)
    return Padding(steps(agent.agent.id), filler[0] if len(filler) == 1 else None, edges)


def pad_token(agent: LoadedAgent, text: str) -> int:
    """The id of the text that hand-offs are padded with.

    Raises:
        InputError: When it is not exactly one token.
    """
    ids = agent.token_ids(text)
    if len(ids) != 1:
        raise InputError(f"padding {text!r} is {len(ids)} tokens of this agent's tokenizer; it must be exactly one")
    return ids[0]


def lessons_of_system(system: System, agents: Mapping[str, LoadedAgent]) -> dict[str, list[Lesson]] | None:
    """The role texts that pairs come from, by agent; None if `training.inner.texts` names none.

    Raises:
        InputError: When an agent has no text, or a text names no agent of the system.
    """
    path = system.training.inner.texts
    if path is None:
        return None
    found: dict[str, list[Lesson]] = {key: [] for key in agents}
    for text in load_role_texts(Path(path)):
        if text.agent not in found:
            raise InputError(f"{path}: a text names agent {text.agent!r}; the system has {', '.join(found)}")
        agent = agents[text.agent]
        padding = padding_of(system, agent, system.training.inner.pad)
        found[text.agent].append(lesson(agent, text, padding, system.decoding.answer_prefix))
    if missing := [key for key, own in found.items() if not own]:
        raise InputError(f"{path}: has no text of agent {missing[0]!r}, so its inner link cannot learn from it")
    return found
