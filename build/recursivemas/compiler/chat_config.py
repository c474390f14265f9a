"""`mlc-chat-config.json`: the configuration of an agent for WebLLM and MLC.

Source: MLC-LLM's `MLCChatConfig` 0.1.0 and `ChatConfig` of WebLLM 0.2.86. Only this project reads the part under the
key `recursivemas`.
"""

from collections.abc import Mapping
from typing import Any

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.conv_template import derive_template, plain_template
from recursivemas.compiler.model_facts import ModelFacts
from recursivemas.compiler.tokenizer import TokenizerFacts
from recursivemas.system.chat_template import ChatTemplate
from recursivemas.system.generation_config import checkpoint_sampling, end_tokens, read_generation_config
from recursivemas.system.manifest import Sampling
from recursivemas.system.names import FILES
from recursivemas.system.quantize import Scheme
from recursivemas.system.tokenizer import load_tokenizer

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
        InputError: `generation_config.json` or the tokenizer cannot be used.
    """
    loaded = load_tokenizer(checkpoint.folder)
    template = ChatTemplate.of(loaded)
    conversation = (template and derive_template(template, tokenizer.special_ids)) or plain_template()
    generation = read_generation_config(checkpoint.folder)
    end = end_tokens(checkpoint.folder, checkpoint.config, loaded)
    end_of_turn = tokenizer.special_ids.get(conversation.end_of_turn.strip())
    stop_ids = sorted({*end, *([] if end_of_turn is None else [end_of_turn])})
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
    for name in ("pad", "bos"):
        sources = (generation, checkpoint.config)
        ids = [source[f"{name}_token_id"] for source in sources if source.get(f"{name}_token_id") is not None]
        if (token_id := next(iter(ids), getattr(loaded, f"{name}_token_id"))) is not None:
            config[f"{name}_token_id"] = token_id
    if end:
        config["eos_token_id"] = end[0] if len(end) == 1 else list(end)
    config["recursivemas"] = {
        "chat_template": template and template.source,
        "special_tokens": template and template.special_tokens,
        "conv_template_exact": conversation.exact,
    }
    sampling = checkpoint_sampling(generation, str(checkpoint.folder / "generation_config.json"))
    if sampling != Sampling():
        config["recursivemas"]["sampling"] = sampling.model_dump()
    return config


def _first_number(key: str, generation: Mapping[str, Any], default: float) -> float:
    value = generation.get(key)
    return default if isinstance(value, bool) or not isinstance(value, int | float) else value
