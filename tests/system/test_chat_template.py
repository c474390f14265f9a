import json
from pathlib import Path

import pytest

from recursivemas.system.chat_template import chat_wrap, render_around
from recursivemas.system.errors import InputError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_render_around_splits_at_the_user_message() -> None:
    prefix, suffix = render_around(CHATML, {})
    assert prefix == "<|im_start|>user\n"
    assert suffix == "<|im_end|>\n<|im_start|>assistant\n"


def test_render_around_equals_transformers(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    template = (
        "{{ bos_token }}{%- for message in messages %}\n    [{{ message['role'] | upper }}] "
        "{{ message['content'] | trim }}"
        "{%- endfor %}\n{%- if add_generation_prompt %} [ASSISTANT]{%- endif %}"
    )
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>")
    fast.chat_template = template
    fast.save_pretrained(tmp_path)
    prefix, suffix = chat_wrap(tmp_path)
    message = [{"role": "user", "content": "what {latent:a} is"}]
    expected = fast.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert prefix + "what {latent:a} is" + suffix == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "cannot be rendered"),
        ("{{ raise_exception('no system') }}", "cannot be rendered: no system"),
        ("nothing", "0 times"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "2 times"),
        ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", "cannot be rendered"),
    ],
)
def test_render_around_refuses_what_it_cannot_split(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_around(template, {})


def test_chat_wrap_without_a_template_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(InputError, match="no chat template"):
        chat_wrap(tmp_path)
