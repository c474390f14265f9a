"""Renders a checkpoint's chat template once, as the text before and after the prompt.

Source: docs/recursion.md, rule 2. The prompt itself never passes through the template, so its slots stay slots. A
template that changes the user's text, other than trimming its ends, is refused, because a prefix and a suffix cannot
represent it.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json

_SENTINEL = "\N{LEFT CEILING}prompt\N{RIGHT CEILING}"
_NOTHING_NEWER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # a fixed day, so that builds are reproducible


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _NOTHING_NEWER.strftime
    return environment


def render_chat(
    template: str, messages: Sequence[Mapping[str, str]], special_tokens: Mapping[str, str], **variables: Any
) -> str:
    """Renders a conversation with a chat template, generation prompt included.

    Args:
        template: Jinja source.
        messages: Each with `role` and `content`.
        special_tokens: `bos_token`, `eos_token` and so on, by the names that the template uses.
        variables: Other variables of the template, such as `enable_thinking`.

    Raises:
        jinja2.TemplateError: The template fails or refuses the conversation.
    """
    source = _environment().from_string(template)
    return source.render(messages=messages, add_generation_prompt=True, **special_tokens, **variables)


def render_around(template: str, special_tokens: Mapping[str, str]) -> tuple[str, str]:
    """Returns what a chat template puts before and after a user message, generation prompt included.

    Args:
        template: Jinja source.
        special_tokens: `bos_token`, `eos_token` and so on, by the names that the template uses.

    Returns:
        (prefix, suffix).

    Raises:
        InputError: The template fails, or does not show the message exactly once.
    """
    try:
        text = render_chat(template, [{"role": "user", "content": _SENTINEL}], special_tokens, enable_thinking=False)
    except jinja2.TemplateError as error:
        raise InputError(f"the chat template cannot be rendered: {error}; use 'chat_template: false'") from None
    parts = text.split(_SENTINEL)
    if len(parts) != 2:
        raise InputError(
            f"the chat template shows the user message {len(parts) - 1} times, expected once; "
            "use 'chat_template: false'"
        )
    return parts[0], parts[1]


def _token_text(value: Any) -> str | None:
    return value.get("content") if isinstance(value, dict) else value


def load_chat_template(checkpoint: Path) -> tuple[str, dict[str, str]] | None:
    """Returns a checkpoint's chat template and its special tokens, or None if it has no template.

    Raises:
        InputError: `tokenizer_config.json` is missing or broken.
    """
    config = read_json(checkpoint / "tokenizer_config.json", "tokenizer configuration")
    jinja_file = checkpoint / "chat_template.jinja"
    template = jinja_file.read_text(encoding="utf-8") if jinja_file.is_file() else config.get("chat_template")
    if isinstance(template, list):
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    if not isinstance(template, str):
        return None
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    return template, {name: text for name in names if (text := _token_text(config.get(name))) is not None}


def chat_wrap(checkpoint: Path) -> tuple[str, str]:
    """Returns the prefix and suffix of a checkpoint's own chat template.

    Raises:
        InputError: The checkpoint has no chat template.
    """
    loaded = load_chat_template(checkpoint)
    if loaded is None:
        raise InputError(f"{checkpoint}: the checkpoint has no chat template; use 'chat_template: false'")
    return render_around(*loaded)
