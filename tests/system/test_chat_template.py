"""Chat templates against `apply_chat_template` of transformers: the same text for every question, or one line."""

import contextlib
import datetime
import os
from pathlib import Path
from typing import Any

import jinja2
import pytest

from recursivemas.system import chat_template
from recursivemas.system.chat_template import ChatTemplate, end_of_turn, render_chats, wrap_prompts
from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Latent, Text, fill, parse_template
from recursivemas.system.system import Agent, ChatTemplateOptions
from tests.system.made_templates import EQUAL, REFUSED

transformers = pytest.importorskip("transformers")
DAY = datetime.date(2025, 3, 4)
PROMPTS = ("Answer. {question} {latent:a->b} go", "\n Answer. {question}")
SYSTEM_IN_USER = (
    "{{ bos_token }}{% set ns = namespace(first='') %}{% if messages[0].role == 'system' %}"
    "{% set ns.first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ (ns.first if loop.first else '') + m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QUESTIONS = (
    "x",
    "  two\n words \t",
    "{\"a\": 'b'} <c> & {{d}}",
    "<tool_response>41\n42</tool_response>",
    "/no_think",
    "0 " * 900,
    "e\u0301\u00e9 \U0001f600\u200d\U0001f525 \u2028 \x1c",
)
SPECIAL = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)


def agent(**changes: Any) -> Agent:
    return Agent(**{"id": "a", "role": "a", "model": "m", "chat_template": True, "prompt": PROMPTS[0], **changes})


def applied(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, source: Any, content: str, **variables: Any) -> str:
    """What transformers itself renders on `DAY`."""
    today = datetime.datetime(DAY.year, DAY.month, DAY.day, 12)
    clock = type("Clock", (), {"now": staticmethod(lambda: today)})
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", clock)
    monkeypatch.setattr(tokenizer, "chat_template", source)
    message = [{"role": "user", "content": content}]
    return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **variables))


def shown(wrap: chat_template.Wrap, prompt: str, question: str) -> str:
    """A prompt in its wrap, as a run reads it, with the slots as text."""
    segments = parse_template(prompt)
    filled = fill(segments, {"question": question}, wrap.trim)
    return wrap.prefix + "".join("[a->b]" if isinstance(each, Latent) else each.text for each in filled) + wrap.suffix


def message(prompt: str, question: str) -> str:
    return "".join(
        each.text if isinstance(each, Text) else "[a->b]" if isinstance(each, Latent) else question
        for each in parse_template(prompt)
    )


def assert_equal(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, source: Any, **variables: Any) -> None:
    tokenizer.chat_template = source
    declared = agent(prompt=PROMPTS[0], first_round_prompt=PROMPTS[1], chat_template_options=variables)
    wraps = wrap_prompts(declared, ChatTemplate.of(tokenizer))
    for key, prompt in declared.prompts.items():
        for question in QUESTIONS:
            expected = applied(tokenizer, monkeypatch, source, message(prompt, question), **variables)
            assert shown(wraps[key], prompt, question) == expected


@pytest.fixture
def on_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = datetime.datetime(DAY.year, DAY.month, DAY.day, 23, tzinfo=datetime.UTC).timestamp()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(seconds)))


@pytest.mark.usefixtures("on_the_day")
@pytest.mark.parametrize("name", EQUAL)
def test_wrap_prompts_equals_transformers(name: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_equal(tokenizer, monkeypatch, EQUAL[name])


@pytest.mark.usefixtures("on_the_day")
@pytest.mark.parametrize("name", REFUSED)
def test_wrap_prompts_refuses_in_one_line(name: str) -> None:
    source, reason = REFUSED[name]
    with pytest.raises(InputError, match=rf"agent 'a': the chat template .*{reason}.*'chat_template: false'") as caught:
        wrap_prompts(agent(prompt="Answer. {question}"), ChatTemplate(source, SPECIAL))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["qwen3", "qwen3.5", "smollm3"])
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.usefixtures("on_the_day")
def test_enable_thinking_is_transformers_variable(
    name: str, thinking: bool, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_equal(tokenizer, monkeypatch, EQUAL[name], enable_thinking=thinking)


def test_enable_thinking_is_the_variable_thinking_too() -> None:
    source = EQUAL["deepseek v3"]
    wraps = wrap_prompts(agent(chat_template_options={"enable_thinking": True}), ChatTemplate(source, SPECIAL))
    assert wraps["prompt"].suffix == "<｜Assistant｜><think>"


def rendered(tokenizer: Any, system: str, content: str) -> str:
    """What transformers writes for a system message, or for one text of both if the template refuses that."""
    for messages in (
        [{"role": "system", "content": system}, {"role": "user", "content": content}],
        [{"role": "user", "content": f"{system}\n\n{content}"}],
    ):
        with contextlib.suppress(jinja2.TemplateError):
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    raise AssertionError


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3.5", "llama3", "mistral", "gemma", "gemma 3 itself", "smollm2"])
def test_a_system_message_is_written_as_transformers_writes_it(name: str, tokenizer: Any) -> None:
    tokenizer.chat_template = EQUAL.get(name, SYSTEM_IN_USER)
    system, first = " Be {brief}.\n", "Begin. "
    declared = agent(prompt=PROMPTS[1], single_prompt=PROMPTS[0], system=system, first_round_system=first)
    wraps = wrap_prompts(declared, ChatTemplate.of(tokenizer))
    assert list(wraps) == ["prompt", "first_round_prompt", "single_prompt"]
    for key, prompt in declared.prompts.items():
        told = first if key == "first_round_prompt" else system
        assert declared.system_message(key) == told
        for question in QUESTIONS:
            assert shown(wraps[key], prompt, question) == rendered(tokenizer, told, message(prompt, question))


def test_a_system_message_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="agent 'a': the chat template leaves the system message out; write its text"):
        wrap_prompts(agent(system="Be brief."), ChatTemplate(EQUAL["phi3"], SPECIAL))
    for key in ("system", "first_round_system"):
        with pytest.raises(ValueError, match=f"agent 'a': {key} needs 'chat_template: true'"):
            agent(chat_template=False, **{key: "Be brief."})
        with pytest.raises(ValueError, match=f"agent 'a': {key} is empty; leave it out"):
            agent(**{key: " \n"})


def test_a_prompt_with_conditions_is_wrapped_alike_whatever_holds() -> None:
    prompt = "{if kind = a}Answer{else}Say{end} {question}"
    declared = agent(prompt=prompt)
    assert wrap_prompts(declared, ChatTemplate(EQUAL["chatml"], SPECIAL))["prompt"].prefix == "<|im_start|>user\n"
    with pytest.raises(InputError, match="writes another text where a condition of the prompt holds"):
        asks = "{% if messages[0].content.startswith('An') %}yes{% endif %}{{ messages[0].content }}"
        wrap_prompts(declared, ChatTemplate(asks, SPECIAL))
    with pytest.raises(InputError, match="has more than 64 combinations of conditions"):
        many = "".join(f"{{if f{n}}}{n}{{end}}" for n in range(7))
        wrap_prompts(agent(prompt="{question}" + many), ChatTemplate(EQUAL["chatml"], SPECIAL))


def test_options_that_the_template_does_not_read_are_refused() -> None:
    plain = ChatTemplate(EQUAL["chatml"], SPECIAL)
    with pytest.raises(InputError, match="reads neither enable_thinking nor thinking; remove enable_thinking"):
        wrap_prompts(agent(chat_template_options={"enable_thinking": False}), plain)
    with pytest.raises(InputError, match="does not ask for the date"):
        wrap_prompts(agent(chat_template_options={"date": DAY}), plain)
    with pytest.raises(InputError, match="has one chat template without a name, not 'rag'"):
        wrap_prompts(agent(chat_template_options={"name": "rag"}), plain)
    with pytest.raises(ValueError, match="chat_template_options needs 'chat_template: true'"):
        agent(chat_template=False, chat_template_options={"date": DAY})


@pytest.mark.parametrize("name", ["llama3.2", "smollm3", "granite"])
def test_a_date_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    template = ChatTemplate(EQUAL[name], SPECIAL)
    with pytest.raises(InputError, match=r"writes today's date; give one in chat_template_options.date .*EPOCH"):
        wrap_prompts(agent(), template)
    options = ChatTemplateOptions.parse({"date": "2025-03-04"}, "test")
    assert "2025" in wrap_prompts(agent(chat_template_options=options), template)["prompt"].prefix
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH: expected seconds since 1970, got 'yesterday'"):
        wrap_prompts(agent(), template)


def test_a_date_of_the_template_stays_unless_the_system_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(EQUAL["llama3.1"], SPECIAL)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert "Today Date: 26 Jul 2024\n" in wrap_prompts(agent(), template)["prompt"].prefix
    given = agent(chat_template_options={"date": DAY})
    assert "Today Date: 04 Mar 2025\n" in wrap_prompts(given, template)["prompt"].prefix


def test_named_templates(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"default": EQUAL["chatml"], "tool_use": EQUAL["qwen2.5"]}
    assert_equal(tokenizer, monkeypatch, sources)
    del sources["default"]
    template = ChatTemplate(sources, SPECIAL)
    with pytest.raises(InputError, match=r"no chat template named 'default'; set .*name to one of tool_use"):
        wrap_prompts(agent(), template)
    named = wrap_prompts(agent(chat_template_options={"name": "tool_use"}), template)["prompt"]
    expected = applied(tokenizer, monkeypatch, EQUAL["qwen2.5"], message(PROMPTS[0], "x"))
    assert shown(named, PROMPTS[0], "x") == expected


def test_a_folder_with_templates_in_files(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = {"default": EQUAL["chatml"], "rag": EQUAL["zephyr"]}
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "additional_chat_templates/rag.jinja").is_file()
    template = ChatTemplate.of(transformers.AutoTokenizer.from_pretrained(tmp_path))
    assert template == ChatTemplate(tokenizer.chat_template, SPECIAL)


def test_a_prompt_may_answer_what_the_template_asks() -> None:
    template = ChatTemplate(REFUSED["a keyword"][0], SPECIAL)
    told = agent(prompt="/no_think {question}")
    assert wrap_prompts(told, template)["prompt"].prefix == "<think></think>"


def test_a_slow_template_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_SECONDS", 3)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ messages[0].content }}"
    with pytest.raises(InputError, match="was not rendered within 3 s"):
        wrap_prompts(agent(), ChatTemplate(endless, SPECIAL))


def test_an_agent_without_a_chat_template() -> None:
    assert wrap_prompts(agent(chat_template=False), None) == {"prompt": chat_template.Wrap()}
    with pytest.raises(InputError, match="agent 'a': the checkpoint has no chat template; use 'chat_template: false'"):
        wrap_prompts(agent(), None)


def test_render_chats_leaves_out_what_the_template_refuses() -> None:
    user, system = ({"role": role, "content": role} for role in ("user", "system"))
    rendered = render_chats(ChatTemplate(EQUAL["gemma"], SPECIAL), [[user], [system, user]])
    assert rendered == ["<bos><start_of_turn>user\nuser<end_of_turn>\n<start_of_turn>model\n", None]


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("chatml", "<|im_end|>"),
        ("qwen3", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("llama3.2", "<|eot_id|>"),
        ("llama2", "<eos>"),
        ("mistral", "<eos>"),
        ("gemma", "<end_of_turn>"),
        ("phi3", "<|end|>"),
        ("deepseek r1", "<｜end▁of▁sentence｜>"),
        ("smollm3", "<|im_end|>"),
        ("zephyr", "<eos>"),
        ("glm", None),
        ("tools are none", None),
    ],
)
def test_end_of_turn_is_the_token_after_the_assistant(name: str, token: str | None) -> None:
    texts = (
        "<|im_end|> <|eot_id|> <eos> <end_of_turn> <|end|> <｜end▁of▁sentence｜> <|user|> <|im_start|> <|im_ < "
        "<start_of_turn> <|start_header_id|>"
    )
    added = {text: number for number, text in enumerate(texts.split())}
    found = end_of_turn(ChatTemplate(EQUAL[name], SPECIAL), ChatTemplateOptions(), added)
    assert found == (None if token is None else added[token])


def test_end_of_turn_that_only_the_next_turn_brings() -> None:
    source = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ '<end>' if not loop.last }}{% endfor %}"
    assert end_of_turn(ChatTemplate(source, {}), ChatTemplateOptions(), {"<end>": 5}) == 5


REAL = Path(os.environ.get("LLAMA_CPP_DIR", "")) / "models/templates"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LLAMA_CPP_DIR"), reason="LLAMA_CPP_DIR names no copy of llama.cpp's source")
@pytest.mark.usefixtures("on_the_day")
def test_published_templates_equal_transformers_or_are_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    equal, refused = [], []
    for path in sorted(REAL.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        try:
            assert_equal(tokenizer, monkeypatch, source)
            equal.append(path.stem)
        except InputError as error:
            assert "\n" not in str(error)
            refused.append(path.stem)
    print("equal:", *equal, "\nrefused:", *refused)
    assert len(equal) >= 20
