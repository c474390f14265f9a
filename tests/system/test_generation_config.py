"""`generation_config.json`: each key is used, has no effect on decoding, or is refused by name."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.generation_config import (
    checkpoint_sampling,
    end_tokens,
    eos_token,
    read_generation_config,
    stop_tokens,
)

transformers = pytest.importorskip("transformers")


def write(folder: Path, content: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(content))
    return folder


def test_read_generation_config_knows_every_key_of_transformers(tmp_path: Path) -> None:
    for key in vars(transformers.GenerationConfig()):
        assert read_generation_config(write(tmp_path, {key: None})) == {}


REFUSED = {
    "encoder_repetition_penalty": 1.2,
    "no_repeat_ngram_size": 3,
    "encoder_no_repeat_ngram_size": 2,
    "num_beams": 4,
    "num_beam_groups": 2,
    "diversity_penalty": 0.5,
    "penalty_alpha": 0.6,
    "guidance_scale": 1.5,
    "min_length": 5,
    "min_new_tokens": 5,
    "max_time": 2.0,
    "bad_words_ids": [[5]],
    "force_words_ids": [[5]],
    "constraints": ["x"],
    "suppress_tokens": [5],
    "begin_suppress_tokens": [5],
    "sequence_bias": [[[5], 1.0]],
    "stop_strings": ["\n"],
    "token_healing": True,
    "forced_bos_token_id": 1,
    "forced_eos_token_id": 2,
    "exponential_decay_length_penalty": [5, 1.1],
    "watermarking_config": {"bias": 2.0},
    "dola_layers": "high",
}


@pytest.mark.parametrize("key", REFUSED)
def test_read_generation_config_refuses_what_picks_other_tokens(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"generation_config.json: {key} .*changes which token is picked"):
        read_generation_config(write(tmp_path, {key: REFUSED[key]}))


def test_read_generation_config_refuses_unknown_keys_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown key 'repetition_penalti'; did you mean 'repetition_penalty'"):
        read_generation_config(write(tmp_path, {"repetition_penalti": 1.1}))
    with pytest.raises(InputError, match="expected a JSON object, got list"):
        read_generation_config(write(tmp_path, [1]))


def test_read_generation_config_takes_what_published_checkpoints_have(tmp_path: Path) -> None:
    content = {
        "_from_model_config": True,
        "bos_token_id": 1,
        "do_sample": True,
        "eos_token_id": [2, 3],
        "pad_token_id": 0,
        "repetition_penalty": 1.0,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "cache_implementation": "hybrid",
        "max_length": 4096,
        "transformers_version": "5.23.0",
    }
    assert read_generation_config(write(tmp_path, content)) == content


@pytest.mark.parametrize(
    "generation",
    [
        {},
        {"temperature": 0.6, "top_k": 20},
        {"do_sample": True},
        {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05},
        {"do_sample": True, "top_k": 0},
    ],
)
def test_checkpoint_sampling_is_what_generate_takes(generation: dict[str, Any], tmp_path: Path) -> None:
    defaults = transformers.GenerationConfig._get_default_generation_params()
    taken = {**defaults, **transformers.GenerationConfig.from_pretrained(write(tmp_path, generation)).to_diff_dict()}
    sampling = checkpoint_sampling(read_generation_config(tmp_path), "file")
    assert sampling.temperature == (taken["temperature"] if taken["do_sample"] else 0)
    assert (sampling.top_k, sampling.top_p) == (taken["top_k"], taken["top_p"])
    assert sampling.repetition_penalty == taken["repetition_penalty"]


def test_checkpoint_sampling_refuses_what_is_out_of_range() -> None:
    with pytest.raises(InputError, match=r"generation_config.json: top_p: .*got 2"):
        checkpoint_sampling({"top_p": 2}, "generation_config.json")


def test_eos_token_refuses_a_tokenizer_without_one() -> None:
    assert eos_token("a", 5) == (5,)
    with pytest.raises(InputError, match="agent 'a': the tokenizer has no eos_token"):
        eos_token("a", None)


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ({"eos_token_id": [5, 6, 5]}, {"eos_token_id": 7}, 8, (5, 6)),
        ({"eos_token_id": 0}, {"eos_token_id": 7}, 8, (0,)),
        ({"eos_token_id": None}, {"eos_token_id": [7, 3]}, 8, (7, 3)),
        (None, {"eos_token_id": 7}, 8, (7,)),
        (None, {"text_config": {"eos_token_id": 7}}, 8, (7,)),
        ({}, {"eos_token_id": None}, 8, (8,)),
        (None, {}, None, ()),
    ],
)
def test_end_tokens_come_from_the_first_file_that_names_any(
    generation: Any, config: Any, tokenizer: int | None, expected: tuple[int, ...], tmp_path: Path
) -> None:
    if generation is not None:
        write(tmp_path, generation)
    assert end_tokens(tmp_path, config, SimpleNamespace(eos_token_id=tokenizer)) == expected


@pytest.mark.parametrize("value", ["</s>", True, -1, [2, None], 1.5, {"a": 1}])
def test_end_tokens_refuses_what_is_no_token_id(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json: eos_token_id: expected a token id or a list of them"):
        end_tokens(tmp_path, {"eos_token_id": value}, SimpleNamespace(eos_token_id=None))


def test_stop_tokens_add_the_end_of_a_turn_once() -> None:
    assert stop_tokens((5, 2), None) == (5, 2)
    assert stop_tokens((5, 2), 2) == (5, 2)
    assert stop_tokens((5,), 2) == (5, 2)
