"""`mlc-chat-config.json`: the configuration of an agent for WebLLM and MLC.

Source: MLC-LLM's `MLCChatConfig` 0.1.0 and `ChatConfig` of WebLLM 0.2.86. Only this project reads the part under the
key `recursivemas`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.conv_template import ConvTemplate, derive_template, plain_template
from recursivemas.compiler.model_facts import ModelFacts
from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.tokenizer import TokenizerFacts
from recursivemas.system.chat_template import load_chat_template
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.names import FILES

CHAT_CONFIG = next(each.file for each in FILES if each.name == "configuration")

_SAMPLING_DEFAULTS = {
    "temperature": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "top_p": 1.0,
}
"""MLC's defaults; a checkpoint's `generation_config.json` overrides them."""


def chat_config(checkpoint: Checkpoint, facts: ModelFacts, scheme: Scheme, tokenizer: TokenizerFacts) -> dict[str, Any]:
    """Makes the configuration, except for what is known only after compiling.

    Raises:
        InputError: `generation_config.json` or `tokenizer_config.json` is broken.
    """
    generation = _optional_json(checkpoint.folder / "generation_config.json")
    tokenizer_config = _optional_json(checkpoint.folder / "tokenizer_config.json")
    template, conversation = _conversation(checkpoint.folder, tokenizer)
    sources = (generation, checkpoint.config)
    stop_ids = _stop_token_ids(sources, tokenizer_config, tokenizer, conversation)
    config: dict[str, Any] = {
        "version": "0.1.0",
        "model_type": facts.architecture,
        "quantization": scheme.name,
        "model_config": dict(facts.model_config),
        "vocab_size": facts.vocab_size,
        "active_vocab_size": tokenizer.size,
        "context_window_size": facts.context_window_size,
        "sliding_window_size": -1,
        "prefill_chunk_size": facts.prefill_chunk_size,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        **{key: _first_number(key, generation, default) for key, default in _SAMPLING_DEFAULTS.items()},
        "tokenizer_files": list(tokenizer.files),
        "tokenizer_info": tokenizer.mlc_info(),
        "conv_template": {**conversation.fields, "stop_token_ids": stop_ids},
        "model_task": "chat",
    }
    for name in ("pad", "bos", "eos"):
        ids = _token_ids(f"{name}_token", sources, tokenizer_config, tokenizer)
        if ids:
            config[f"{name}_token_id"] = ids[0] if len(ids) == 1 else ids
    config["recursivemas"] = {"chat_template": template, "conv_template_exact": conversation.exact}
    return config


def _conversation(folder: Path, tokenizer: TokenizerFacts) -> tuple[str | None, ConvTemplate]:
    """The checkpoint's Jinja chat template, if it has one, and the conversation template that stands for it."""
    loaded = load_chat_template(folder) if (folder / "tokenizer_config.json").is_file() else None
    if loaded is None:
        return None, plain_template()
    template, special_tokens = loaded
    return template, derive_template(template, special_tokens, tokenizer.special_ids) or plain_template()


def _stop_token_ids(
    sources: Iterable[Mapping[str, Any]],
    tokenizer_config: Mapping[str, Any],
    tokenizer: TokenizerFacts,
    conversation: ConvTemplate,
) -> list[int]:
    ids = _token_ids("eos_token", sources, tokenizer_config, tokenizer)
    end = tokenizer.special_ids.get(conversation.end_of_turn.strip())
    return sorted({*ids, *([end] if end is not None else [])})


def _token_ids(
    token: str, sources: Iterable[Mapping[str, Any]], tokenizer_config: Mapping[str, Any], tokenizer: TokenizerFacts
) -> list[int]:
    """Ids of a special token according to the model's files, else to the tokenizer's."""
    for source in sources:
        value = source.get(f"{token}_id")
        ids = value if isinstance(value, list) else [value]
        if value is not None and all(isinstance(each, int) for each in ids):
            return list(ids)
    named = tokenizer_config.get(token)
    text = named.get("content") if isinstance(named, dict) else named
    found = tokenizer.special_ids.get(text) if isinstance(text, str) else None
    return [] if found is None else [found]


def _first_number(key: str, generation: Mapping[str, Any], default: float) -> float:
    value = generation.get(key)
    return default if isinstance(value, bool) or not isinstance(value, int | float) else value


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path, "file")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content
