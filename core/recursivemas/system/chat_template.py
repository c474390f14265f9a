"""Renders a checkpoint's chat template around an agent's prompts, as `apply_chat_template` of transformers would.

Source: docs/recursion.md, rule 2. The page does not run the template: it gets the text before and after each prompt.
So a template is refused if that text depends on the message's words, which nobody knows yet. `chat_worker.py` does the
rendering in a process of its own, with limits.
"""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Condition, Segment, Text, Trim, parse_template
from recursivemas.system.system import Agent, ChatTemplateOptions

Conversation = Sequence[Mapping[str, str]]

_SECONDS = 60
_SLOT = "\ue001"  # of chat_worker.py, which cannot be imported without transformers
_SWITCHES = ("enable_thinking", "thinking")
_ASK, _REPLY = "\N{LEFT CEILING}question\N{RIGHT CEILING}", "\N{LEFT CEILING}reply\N{RIGHT CEILING}"
_MOST_SHAPES = 64
_ANY_DAY = datetime.date(2026, 1, 1)


@dataclass(frozen=True)
class ChatTemplate:
    """The chat templates of a tokenizer.

    Attributes:
        source: Jinja source; by name if there are several.
        special_tokens: `bos_token`, `eos_token` and the like, as templates name them.
    """

    source: str | Mapping[str, str]
    special_tokens: Mapping[str, str]

    @classmethod
    def of(cls, tokenizer: Any) -> "ChatTemplate | None":
        """Those of a tokenizer of transformers; None if it has none."""
        source = tokenizer.chat_template
        return None if source is None else cls(source, dict(tokenizer.special_tokens_map))

    def text(self, name: str | None = None) -> str:
        """The Jinja source of a name; transformers' choice by default.

        Raises:
            InputError: There is none of that name, or no default among several.
        """
        if isinstance(self.source, str):
            if name is None:
                return self.source
            raise InputError(f"the checkpoint has one chat template without a name, not {name!r}; remove the name")
        if (name or "default") not in self.source:
            raise InputError(
                f"the checkpoint has no chat template named {name or 'default'!r}; set chat_template_options.name to "
                f"one of {', '.join(sorted(self.source))}"
            )
        return self.source[name or "default"]


@dataclass(frozen=True)
class Wrap:
    """What a chat template puts around a prompt that is the user's message.

    Attributes:
        prefix: Text before it, with the system message.
        suffix: Text after it, generation prompt included.
        trim: Whether the message loses the white space at its ends, or at its end alone.
    """

    prefix: str = ""
    suffix: str = ""
    trim: Trim = False


def wrap_prompts(agent: Agent, template: ChatTemplate | None) -> dict[str, Wrap]:
    """What the checkpoint's chat template puts around each prompt of an agent.

    Args:
        agent: With its prompts and options.
        template: The checkpoint's; None if it has none.

    Returns:
        By the keys of `Agent.prompts`; nothing around any if the agent does without a chat template.

    Raises:
        InputError: The template fails, needs a date, or treats some messages otherwise than others.
    """
    if not agent.chat_template:
        return dict.fromkeys(agent.prompts, Wrap())
    try:
        return _wrapped(agent, template)
    except InputError as error:
        raise InputError(f"agent {agent.id!r}: {error}") from None


def _wrapped(agent: Agent, template: ChatTemplate | None) -> dict[str, Wrap]:
    if template is None:
        raise InputError("the checkpoint has no chat template; use 'chat_template: false'")
    options = agent.chat_template_options
    shapes = [(key, shape) for key, prompt in agent.prompts.items() for shape in _shapes(parse_template(prompt))]
    messages = [(shape, agent.system_message(key)) for key, shape in shapes]
    reply = _render(template, options, options.date or _source_date(), prompts=messages)
    wraps: dict[str, Wrap] = {}
    for (key, _), result in zip(shapes, reply["prompts"], strict=True):
        if "date" in result:
            raise InputError(
                "the chat template writes today's date; give one in chat_template_options.date (as 2026-01-31) or in "
                "the environment variable SOURCE_DATE_EPOCH, so that each build is the same"
            )
        if "error" in result:
            raise InputError(f"{result['error']}; use 'chat_template: false' or another prompt")
        wrap = Wrap(*result["value"])
        if wraps.setdefault(key, wrap) != wrap:
            raise InputError(
                "the chat template writes another text where a condition of the prompt holds; use "
                "'chat_template: false' or another prompt"
            )
    read = reply["read"]
    if options.enable_thinking is not None and not set(_SWITCHES) & set(read):
        raise InputError(f"the chat template reads neither {' nor '.join(_SWITCHES)}; remove enable_thinking")
    if options.date is not None and not reply["asks_date"] and "date_string" not in read:
        raise InputError("the chat template does not ask for the date; remove chat_template_options.date")
    return wraps


def _shapes(segments: Sequence[Segment]) -> list[str]:
    """The prompt's text with a mark for each slot, once for every way in which its conditions can come out."""
    shapes = [""]
    for segment in segments:
        if isinstance(segment, Condition):
            pieces = list(dict.fromkeys([*_shapes(segment.then), *_shapes(segment.otherwise)]))
        else:
            pieces = [segment.text if isinstance(segment, Text) else _SLOT]
        shapes = [shape + piece for shape in shapes for piece in pieces]
        if len(shapes) > _MOST_SHAPES:
            raise InputError(f"a prompt has more than {_MOST_SHAPES} combinations of conditions; use fewer")
    return shapes


def render_chats(template: ChatTemplate, conversations: Sequence[Conversation]) -> list[str | None]:
    """Conversations with the generation prompt; None for those that the template refuses or that need a date.

    Raises:
        InputError: The template has no default, is no Jinja, or takes too long.
    """
    chats = [(messages, True) for messages in conversations]
    reply = _render(template, ChatTemplateOptions(), _source_date(), chats=chats)
    return [result.get("value") for result in reply["chats"]]


def template_reads(template: ChatTemplate) -> tuple[bool, bool]:
    """Whether a template reads one of the variables of `enable_thinking`, and whether it prints the date."""
    reply = _render(template, ChatTemplateOptions(), _ANY_DAY, chats=[([{"role": "user", "content": _ASK}], True)])
    return not set(_SWITCHES).isdisjoint(reply["read"]), bool(reply["asks_date"] or "date_string" in reply["read"])


def end_of_turn(template: ChatTemplate, options: ChatTemplateOptions, added: Mapping[str, int]) -> int | None:
    """Id of the token that the chat template writes after an assistant's turn; None if it writes none there.

    Args:
        template: The checkpoint's.
        options: The agent's.
        added: Ids of the tokenizer's added tokens by their texts.
    """
    turns = [{"role": "user", "content": _ASK}, {"role": "assistant", "content": _REPLY}]
    chats = [(turns, False), ([*turns, turns[0]], False)]  # some templates close a turn only before the next
    reply = _render(template, options, options.date or _ANY_DAY, chats=chats)
    last, inner = (chat.get("value") or "" for chat in reply["chats"])
    after = last.rpartition(_REPLY)[2].lstrip()
    before_next = inner.rpartition(_REPLY)[2].partition(_ASK)[0].lstrip()
    candidates = [after] if inner.partition(_ASK)[0].endswith(before_next) else [after, before_next]
    for text in candidates:
        if found := max((token for token in added if token and text.startswith(token)), key=len, default=""):
            return added[found]
    return None


def _source_date() -> datetime.date | None:
    """The day of SOURCE_DATE_EPOCH; None without it."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date()
    except (ValueError, OverflowError, OSError):
        raise InputError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {seconds!r}") from None


def _render(
    template: ChatTemplate,
    options: ChatTemplateOptions,
    day: datetime.date | None,
    prompts: Sequence[tuple[str, str | None]] = (),
    chats: Sequence[tuple[Conversation, bool]] = (),
) -> dict[str, Any]:
    told: dict[str, Any] = dict(template.special_tokens)
    if options.enable_thinking is not None:
        told |= dict.fromkeys(_SWITCHES, options.enable_thinking)
    if options.date is not None:
        told["date_string"] = options.date.strftime("%d %b %Y")
    request = {
        "template": template.text(options.name),
        "variables": told,
        "date": None if day is None else day.isoformat(),
        "prompts": prompts,
        "chats": chats,
    }
    # OpenBLAS would reserve memory for each core.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "recursivemas.system.chat_worker"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"the chat template was not rendered within {_SECONDS} s; use 'chat_template: false'"
        ) from None
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"the chat template ended its process: {reason[-1] if reason else done.returncode}")
    reply: dict[str, Any] = json.loads(done.stdout)
    if "error" in reply:
        raise InputError(f"{reply['error']}; use 'chat_template: false'")
    return reply
