"""Renders a checkpoint's chat template once, around a place that the prompt fills.

Source: docs/recursion.md, rule 2. The prompt's own text never passes through the template, so that slots stay slots;
templates that alter the user's text (other than trimming its ends) are refused, because prefix and suffix could not
stand for them.
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
_NOTHING_NEWER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)  # a fixed day keeps builds reproducible


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
    """A conversation as a chat template writes it, generation prompt included.

    Args:
        template: Jinja source.
        messages: Each with `role` and `content`.
        special_tokens: `bos_token`, `eos_token` and the like, as the template names them.
        variables: What else the template reads, e.g. `enable_thinking`.

    Raises:
        jinja2.TemplateError: When the template fails or refuses the conversation.
    """
    source = _environment().from_string(template)
    return source.render(messages=messages, add_generation_prompt=True, **special_tokens, **variables)


def render_around(template: str, special_tokens: Mapping[str, str]) -> tuple[str, str]:
    """What a chat template puts before and after one user message, generation prompt included.

    Args:
        template: Jinja source.
        special_tokens: `bos_token`, `eos_token` and the like, as the template names them.

    Returns:
        (prefix, suffix).

    Raises:
        InputError: When the template fails or does not hold the message exactly once.
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
    """A checkpoint folder's chat template and the special tokens it may name; None when it has no template.

    Raises:
        InputError: When `tokenizer_config.json` is missing or broken.
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
    """Prefix and suffix of a checkpoint folder's own chat template.

    Raises:
        InputError: When the checkpoint has none.
    """
    loaded = load_chat_template(checkpoint)
    if loaded is None:
        raise InputError(f"{checkpoint}: the checkpoint has no chat template; use 'chat_template: false'")
    return render_around(*loaded)
