"""`generation_config.json` of a checkpoint: how it samples, and the tokens that end its answers.

Source: `GenerationConfig` of transformers 5.23; docs/recursion.md, rule 5. A system's `decoding` says how tokens are
picked, and may leave four settings to the checkpoint (`checkpoint_sampling`); the others have no effect. What would
forbid, force or favour tokens otherwise is refused.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.manifest import Sampling

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")

_SAMPLING = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "repetition_penalty", "max_length", "max_new_tokens",
)  # fmt: skip
"""`decoding` replaces them, or leaves temperature, top_p, top_k and repetition_penalty to them."""

_WITHOUT_EFFECT = (
    "_from_model_config", "transformers_version",
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "low_memory",
    "compile_config", "disable_compile", "continuous_batching_config",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "num_return_sequences",
    "early_stopping", "length_penalty", "decoder_start_token_id", "renormalize_logits", "remove_invalid_values",
    "use_mtp", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind",
    "prompt_lookup_num_tokens", "max_matching_ngram_size",
)  # fmt: skip
"""They decide how fast `generate` works, what else it returns, or how it searches with several beams."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0,),
    "penalty_alpha": (0,),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "bad_words_ids": ([],),
    "force_words_ids": ([],),
    "constraints": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({}, []),
    "stop_strings": ([], ""),
    "token_healing": (False,),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "watermarking_config": (),
    "dola_layers": (),
    "max_time": (),
    "assistant_ensemble_weight": (),
    "speculation_type": (),
}
"""They change which token is picked, except at these values."""


def read_generation_config(folder: Path) -> dict[str, Any]:
    """The `generation_config.json` of a checkpoint folder without keys that are null; empty if there is none.

    Raises:
        InputError: It is broken, or has a key that is unknown or would change which token is picked.
    """
    path = folder / "generation_config.json"
    if not path.is_file():
        return {}
    content = read_json(path, "file")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    content = {key: value for key, value in content.items() if value is not None}
    known = (*_TOKENS, *_SAMPLING, *_WITHOUT_EFFECT, *_NEUTRAL)
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it if it has no effect on which token is picked"
            raise InputError(f"{path}: unknown key {key!r}; {hint}")
        if key in _NEUTRAL and value not in _NEUTRAL[key]:
            raise InputError(
                f"{path}: {key} {value!r} changes which token is picked, and agents decode without it; remove the key "
                "from a copy of the checkpoint if that is right"
            )
    return content


def checkpoint_sampling(generation: Mapping[str, Any], source: str) -> Sampling:
    """How `generate` of transformers picks tokens with a checkpoint, with its own defaults where the file says nothing.

    Args:
        generation: From `read_generation_config`.
        source: The file, for the message.

    Raises:
        InputError: A setting is out of range.
    """
    names = ("temperature", "top_p", "top_k", "repetition_penalty")
    said = {name: generation[name] for name in names if name in generation}
    if not generation.get("do_sample"):
        said["temperature"] = 0.0
    return Sampling.parse({"temperature": 1.0, **said}, source)


def end_tokens(folder: Path, config: Mapping[str, Any], tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer: those of `generation_config.json`, else of `config.json`, else of the tokenizer.

    Args:
        folder: The checkpoint folder.
        config: Its `config.json`.
        tokenizer: Its tokenizer, of transformers.

    Returns:
        As the file lists them, each once.

    Raises:
        InputError: `generation_config.json` cannot be used, or the ids are no token ids.
    """
    text_config = config.get("text_config")
    sources = {
        "generation_config.json": read_generation_config(folder),
        "config.json": config,
        "config.json: text_config": text_config if isinstance(text_config, dict) else {},
    }
    for name, source in sources.items():
        value = source.get("eos_token_id")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in ids):
            raise InputError(f"{folder / name}: eos_token_id: expected a token id or a list of them, got {value!r}")
        if ids:
            return tuple(dict.fromkeys(ids))
    return () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)


def eos_token(agent_id: str, eos_token_id: int | None) -> tuple[int, ...]:
    """The stop token of an agent with `stop: eos_token`.

    Raises:
        InputError: The tokenizer has none.
    """
    if eos_token_id is None:
        raise InputError(f"agent {agent_id!r}: the tokenizer has no eos_token; use 'stop: checkpoint'")
    return (int(eos_token_id),)


def stop_tokens(end: tuple[int, ...], end_of_turn: int | None) -> tuple[int, ...]:
    """Ids that end an agent's answer.

    Args:
        end: From `end_tokens`.
        end_of_turn: What the chat template writes after an assistant's turn; None for an agent without one.
    """
    return end if end_of_turn is None or end_of_turn in end else (*end, end_of_turn)
