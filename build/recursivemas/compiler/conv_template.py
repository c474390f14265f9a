"""Turns a checkpoint's Jinja chat template into the conversation template of fixed fields that MLC and WebLLM read.

Source: `Conversation` of WebLLM 0.2.86 (`getPromptArray`), whose rules `render` repeats. There is no table of model
families. Instead, conversations with marked messages are rendered, the text between the marks is cut into fields in
every possible way, and the cut that reproduces the Jinja template for the most conversations wins.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recursivemas.system.chat_template import ChatTemplate, render_chats
from recursivemas.system.errors import InputError

_SYSTEM, _USER, _ASSISTANT, _NEXT = "§system§", "§user§", "§assistant§", "§next§"

CONVERSATIONS: dict[str, list[dict[str, str]]] = {
    "user": [{"role": "user", "content": _USER}],
    "system_user": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}],
    "user_assistant_user": [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _ASSISTANT},
        {"role": "user", "content": _NEXT},
    ],
    "system_user_assistant_user": [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _ASSISTANT},
        {"role": "user", "content": _NEXT},
    ],
}
"""The conversations that a conversation template is tested with."""


@dataclass(frozen=True)
class ConvTemplate:
    """MLC's conversation template.

    Attributes:
        fields: The `conv_template` of `mlc-chat-config.json`, without stop tokens.
        exact: For each of `CONVERSATIONS`, whether it renders as the checkpoint's own template does.
        end_of_turn: Text that ends an assistant's message, often a special token; empty if unknown.
    """

    fields: dict[str, Any]
    exact: dict[str, bool] = field(default_factory=dict)
    end_of_turn: str = ""


def plain_template() -> ConvTemplate:
    """For checkpoints without a chat template: messages follow each other with nothing between them."""
    return ConvTemplate(_fields("plain", "{system_message}", "", "", "", ["", ""], {}))


def derive_template(template: ChatTemplate, special_ids: Mapping[str, int]) -> ConvTemplate | None:
    """Finds the conversation template closest to a Jinja chat template.

    Args:
        template: The checkpoint's.
        special_ids: Id of every special token by its text.

    Returns:
        The best one; None when the template fails on a plain conversation, alters messages or asks for the date.
    """
    bos = template.special_tokens.get("bos_token", "")
    try:
        expected = dict(zip(CONVERSATIONS, render_chats(template, list(CONVERSATIONS.values())), strict=True))
    except InputError:  # an agent of a system may do without the template, or take another of several
        return None
    without_bos = {
        name: text.removeprefix(bos) if bos in special_ids and text is not None else text
        for name, text in expected.items()
    }
    has_bos = any(text != expected[name] for name, text in without_bos.items())
    best: ConvTemplate | None = None
    for fields, end_of_turn in _candidates(without_bos, special_ids):
        exact = {
            name: text is not None and render(fields, CONVERSATIONS[name]) == text for name, text in without_bos.items()
        }
        if best is None or sum(exact.values()) > sum(best.exact.values()):
            best = ConvTemplate(fields, exact, end_of_turn)
    if best is not None and has_bos:
        best.fields["system_prefix_token_ids"] = [special_ids[bos]]
    return best


def render(fields: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> str:
    """Renders a conversation like WebLLM, up to the assistant's reply, without `system_prefix_token_ids`."""
    system_message = fields["system_message"]
    if messages[0]["role"] == "system":
        system_message, messages = messages[0]["content"], messages[1:]
    silent = system_message == "" and not fields["render_empty_system_message"]
    system_prompt = "" if silent else fields["system_template"].replace("{system_message}", system_message, 1)
    text = system_prompt
    for index, message in enumerate(messages):
        role = message["role"]
        if index > 0 or not system_prompt or fields["add_role_after_system_message"]:
            text += fields["roles"][role] + fields["role_content_sep"]
        text += fields["role_templates"][role].replace(f"{{{role}_message}}", message["content"], 1)
        text += fields["seps"][index % len(fields["seps"])]
    return text + str(fields["roles"]["assistant"]) + str(fields["role_empty_sep"])


def _gaps(text: str | None, marks: Sequence[str]) -> list[str] | None:
    """The text before, between and after the marks; None unless each appears once, in order."""
    if text is None:
        return None
    gaps = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        gaps.append(before)
    return None if any(mark in text for mark in marks) else [*gaps, text]


def _candidates(
    expected: Mapping[str, str | None], special_ids: Mapping[str, int]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Cuts the text between messages into fields in every possible way, the most natural first, each with its end of
    turn."""
    plain = _gaps(expected["user_assistant_user"], [_USER, _ASSISTANT, _NEXT])
    if plain is None:
        return
    start, to_assistant, to_user, reply = plain
    system = _gaps(expected["system_user_assistant_user"], [_SYSTEM, _USER, _ASSISTANT, _NEXT])
    common = _common_prefix(to_assistant, reply)
    natural = _end_of_turn(to_user, special_ids)
    for length in sorted(range(len(to_user) + 1), key=lambda n: abs(n - natural)):
        assistant_sep, user_role = to_user[:length], to_user[length:]
        if not start.endswith(user_role):
            continue
        user_sep = _common_prefix(common, assistant_sep)
        layout = _system_layout(start.removesuffix(user_role), user_role, system)
        fields = _fields(
            "checkpoint",
            layout.template,
            user_role,
            common.removeprefix(user_sep),
            reply.removeprefix(common),
            [user_sep, assistant_sep],
            {"assistant": to_assistant.removeprefix(common) + "{assistant_message}"},
        )
        fields |= {
            "system_message": layout.default,
            "add_role_after_system_message": layout.role_follows,
            "render_empty_system_message": layout.shown_when_empty,
        }
        yield fields, assistant_sep


@dataclass(frozen=True)
class _SystemLayout:
    template: str
    default: str
    role_follows: bool
    shown_when_empty: bool


def _system_layout(block: str, user_role: str, system: Sequence[str] | None) -> _SystemLayout:
    """Finds out how the template writes the system message.

    Args:
        block: The text before the first user role of a conversation without a system message: empty, or a default.
        user_role: The text before a user's message.
        system: The gaps of a conversation with a system message; None if the template refuses those.
    """
    if system is None:
        return _SystemLayout(block + "{system_message}", "", role_follows=True, shown_when_empty=bool(block))
    before, after = system[0], system[1]
    role_follows = after.endswith(user_role)
    end = after.removesuffix(user_role)
    default = ""
    is_default = len(block) >= len(before) + len(end) and block.startswith(before) and block.endswith(end)
    if block and role_follows and is_default:
        default = block[len(before) : len(block) - len(end)]
    return _SystemLayout(before + "{system_message}" + end, default, role_follows, shown_when_empty=bool(block))


def _fields(
    name: str,
    system_template: str,
    user_role: str,
    assistant_role: str,
    reply: str,
    seps: list[str],
    role_templates: dict[str, str],
) -> dict[str, Any]:
    return {
        "name": name,
        "system_template": system_template,
        "system_message": "",
        "add_role_after_system_message": True,
        "render_empty_system_message": False,
        "roles": {"user": user_role, "assistant": assistant_role, "tool": user_role},
        "role_templates": {
            "user": "{user_message}",
            "assistant": "{assistant_message}",
            "tool": "{tool_message}",
            **role_templates,
        },
        "seps": seps[:1] if seps[0] == seps[1] else seps,
        "role_content_sep": "",
        "role_empty_sep": reply,
        "stop_str": [],
    }


def _end_of_turn(text: str, special_ids: Mapping[str, int]) -> int:
    """Length of the leading special token with its line breaks, or else of leading white space."""
    tokens = "|".join(re.escape(token) for token in sorted(special_ids, key=len, reverse=True))
    pattern = rf"\s*(?:{tokens})\n*" if tokens else r"\s*"
    match = re.match(pattern, text) or re.match(r"\s*", text)
    return match.end() if match else 0


def _common_prefix(a: str, b: str) -> str:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return a[:length]
