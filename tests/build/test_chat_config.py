"""`mlc-chat-config.json`: which of a checkpoint's files wins when they disagree."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.random_checkpoint import CHATML, write_random_checkpoint
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.chat_config import chat_config
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.tokenizer import read_tokenizer
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_random_checkpoint(tmp_path, CONFIG, dtype="float16")
    return tmp_path


def configure(folder: Path, scheme: str = "q4f16_1") -> dict[str, Any]:
    checkpoint = Checkpoint(folder)
    facts = prepare(checkpoint, find_scheme(scheme), "relax").facts
    return chat_config(checkpoint, facts, find_scheme(scheme), read_tokenizer(folder, facts.vocab_size))


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def test_chat_config_without_a_generation_config(folder: Path) -> None:
    config = configure(folder)
    assert config["quantization"] == "q4f16_1"
    assert config["model_config"]["num_key_value_heads"] == 2
    assert (config["temperature"], config["top_p"], config["repetition_penalty"]) == (1.0, 1.0, 1.0)
    assert (config["eos_token_id"], config["pad_token_id"]) == (258, 256)
    assert "bos_token_id" not in config
    assert config["recursivemas"]["chat_template"] == CHATML


def test_chat_config_prefers_the_generation_config(folder: Path) -> None:
    edit(folder, "config.json", eos_token_id=7, bos_token_id=8)
    assert configure(folder)["conv_template"]["stop_token_ids"] == [7, 258]
    edit(folder, "generation_config.json", eos_token_id=[5, 6], temperature=0.6, top_p=0.95, top_k=20)
    config = configure(folder)
    assert config["eos_token_id"] == [5, 6]
    assert config["bos_token_id"] == 8
    assert (config["temperature"], config["top_p"]) == (0.6, 0.95)
    # The token that ends a turn in the chat template stops an answer too.
    assert config["conv_template"]["stop_token_ids"] == [5, 6, 258]


def test_chat_config_without_a_chat_template_is_plain_text(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "chat_template"}))
    config = configure(folder)
    assert config["conv_template"]["name"] == "plain"
    assert config["conv_template"]["stop_token_ids"] == [258]
    assert config["recursivemas"]["chat_template"] is None
    path.unlink()
    config = configure(folder)
    assert config["tokenizer_files"] == ["tokenizer.json"]
    assert config["conv_template"]["stop_token_ids"] == []


def test_chat_config_of_a_template_it_cannot_follow_is_plain_but_keeps_it(folder: Path) -> None:
    edit(folder, "tokenizer_config.json", chat_template="{{ messages[0].content | upper }}")
    config = configure(folder)
    assert config["conv_template"]["name"] == "plain"
    assert config["recursivemas"] == {
        "chat_template": "{{ messages[0].content | upper }}",
        "special_tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "conv_template_exact": {},
    }


def test_chat_config_reads_the_template_file_first(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(CHATML.replace("im_start", "im_begin"))
    assert configure(folder)["conv_template"]["roles"]["user"] == "<|im_begin|>user\n"


def test_chat_config_refuses_a_broken_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text("[1]")
    with pytest.raises(InputError, match=r"generation_config.json: expected a JSON object, got list"):
        configure(folder)
