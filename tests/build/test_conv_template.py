"""Jinja chat templates of common families become WebLLM's fields; inexact ones are marked."""

import pytest

from recursivemas.compiler.conv_template import CONVERSATIONS, derive_template, plain_template, render
from recursivemas.system.chat_template import ChatTemplate, render_chats

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_WITH_DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
)
CHATML_THINKING = CHATML.replace(
    "assistant\n{% endif %}", "assistant\n{% if enable_thinking is true %}<think>{% endif %}{% endif %}"
)
CHATML_GENERATION = CHATML.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}")
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA31 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n{{ system }}<|eot_id|>"
    + LLAMA3.removeprefix("{{ bos_token }}")
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
MISTRAL_V3 = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
    "{% endif %}{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "[INST] {% if loop.first and system is defined %}{{ system }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_SPECIAL = (
    "<s> </s> <|im_start|> <|im_end|> <|start_header_id|> <|end_header_id|> <|eot_id|> [INST] [/INST] "
    "<start_of_turn> <end_of_turn>"
)
IDS = {text: number for number, text in enumerate(_SPECIAL.split())}
ALL = dict.fromkeys(CONVERSATIONS, True)
NO_SYSTEM = ALL | {"system_user": False, "system_user_assistant_user": False}


@pytest.mark.parametrize(
    ("template", "exact", "end_of_turn", "prefix_ids"),
    [
        (CHATML, ALL, "<|im_end|>\n", None),
        (CHATML_WITH_DEFAULT, ALL, "<|im_end|>\n", None),
        (CHATML_THINKING, ALL, "<|im_end|>\n", None),
        (CHATML_GENERATION, ALL, "<|im_end|>\n", None),
        (LLAMA3, ALL, "<|eot_id|>", [0]),
        (LLAMA31, ALL, "<|eot_id|>", [0]),
        (MISTRAL, NO_SYSTEM, "</s>", [0]),
        (MISTRAL_V3, ALL, "</s>", [0]),
        (GEMMA, NO_SYSTEM, "<end_of_turn>\n", [0]),
        (ZEPHYR, ALL, "</s>\n", None),
    ],
)
def test_derive_template_renders_as_the_checkpoint_does(
    template: str, exact: dict[str, bool], end_of_turn: str, prefix_ids: list[int] | None
) -> None:
    derived = derive_template(ChatTemplate(template, TOKENS), IDS)
    assert derived is not None
    assert derived.exact == exact
    assert derived.end_of_turn == end_of_turn
    assert derived.fields.get("system_prefix_token_ids") == prefix_ids


@pytest.mark.parametrize("template", [CHATML_WITH_DEFAULT, LLAMA31, MISTRAL_V3])
@pytest.mark.parametrize("system", [None, "Answer in French."])
def test_derived_template_renders_other_text_too(template: str, system: str | None) -> None:
    derived = derive_template(ChatTemplate(template, TOKENS), IDS)
    assert derived is not None
    messages = [] if system is None else [{"role": "system", "content": system}]
    for turn in range(3):
        messages += [
            {"role": "user", "content": f"Question {turn}?"},
            {"role": "assistant", "content": f"It is {turn}."},
        ]
    (expected,) = render_chats(ChatTemplate(template, TOKENS), [messages[:-1]])
    bos = "<s>" if "system_prefix_token_ids" in derived.fields else ""
    assert bos + render(derived.fields, messages[:-1]) == expected


def test_derive_template_keeps_the_default_system_message() -> None:
    derived = derive_template(ChatTemplate(CHATML_WITH_DEFAULT, TOKENS), IDS)
    assert derived is not None
    assert derived.fields["system_message"] == "Be kind."
    assert derived.fields["system_template"] == "<|im_start|>system\n{system_message}<|im_end|>\n"


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no') }}", "{{ messages[0].content | upper }}", "{% for %}", "constant", "{{ 1 / 0 }}"],
)
def test_derive_template_gives_up_on_templates_without_the_messages(template: str) -> None:
    assert derive_template(ChatTemplate(template, TOKENS), IDS) is None


def test_plain_template_adds_nothing() -> None:
    assert render(plain_template().fields, CONVERSATIONS["user"]) == CONVERSATIONS["user"][0]["content"]
