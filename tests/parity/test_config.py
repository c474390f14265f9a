"""A sweep of config.json: each key means in our definitions what it means in transformers, or it is refused.

The numbers are compared on the CPU, in float32, after two calls with a KV cache.
"""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from harness.config_cases import (
    Config,
    base_config,
    changed,
    changes,
    our_numbers,
    ours,
    resolved,
    transformers_numbers,
    write_checkpoint,
)
from recursivemas.architectures.cpu_model import relative_error
from recursivemas.compiler.models import FAMILIES, ModelConfig

TOLERANCE = 1e-4
PUBLISHED = json.loads((Path(__file__).parents[1] / "fixtures/published_configs.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    transformers.logging.set_verbosity(verbosity)


def _assert_same(found: ModelConfig, expected: Config) -> None:
    frequencies = expected.pop("rope_frequencies")
    np.testing.assert_allclose(found.rope_frequencies(), frequencies, rtol=1e-5)
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_is_refused_or_means_what_it_means_in_transformers(family: str, tmp_path: Path) -> None:
    accepted = 0
    for change in changes():
        config = changed(family, change)
        if (found := ours(config)) is not None:
            accepted += 1
            try:
                _assert_same(found, resolved(config, tmp_path))
            except Exception as error:
                raise AssertionError(f"{change}: {error!r}") from error
    assert accepted > 500


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_accepted(name: str, tmp_path: Path) -> None:
    found = ours(PUBLISHED[name])
    assert found is not None
    _assert_same(found, resolved(PUBLISHED[name], tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_change_nothing_leave_the_numbers_as_they_are(family: str, tmp_path: Path) -> None:
    base = base_config(family)
    write_checkpoint(base, tmp_path)
    expected = transformers_numbers(tmp_path, base)
    found = ours(base)
    assert found is not None
    assert relative_error(our_numbers(tmp_path, found), expected) <= TOLERANCE

    values: dict[str, list[Any]] = {}
    for change in changes():
        if len(change) == 1 and ours(changed(family, change)) == found:
            (key, value), *_ = change.items()
            values.setdefault(key, []).append(value)
    # All keys at once, each in turn with every value that is accepted.
    for turn in range(max(map(len, values.values()))):
        change = {key: each[turn % len(each)] for key, each in values.items() if each[turn % len(each)] is not ...}
        config = changed(family, change)
        assert ours(config) == found
        assert relative_error(transformers_numbers(tmp_path, config), expected) <= 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_count_give_the_same_numbers_together(family: str, tmp_path: Path) -> None:
    scaling = {"type": "llama3", "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    change: Config = {
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 12,
        "vocab_size": 53,
        "rms_norm_eps": 0.05,
        "tie_word_embeddings": True,
        "rope_theta": 50,
        "rope_parameters": {"rope_type": "default", "rope_theta": 7.0},
        "rope_scaling": {**scaling, "original_max_position_embeddings": 32},
        "original_max_position_embeddings": 16,
        "sliding_window": 64,
    }
    if family in ("llama", "qwen3"):
        change["attention_bias"] = True
    config = changed(family, change)
    write_checkpoint(config, tmp_path)
    found = ours(config)
    assert found is not None
    assert relative_error(our_numbers(tmp_path, found), transformers_numbers(tmp_path, config)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_accepted_change_alone_gives_the_same_numbers(family: str, tmp_path: Path) -> None:
    checkpoints: dict[ModelConfig, tuple[Path, np.ndarray]] = {}
    for number, change in enumerate(changes()):
        config = changed(family, change)
        if (found := ours(config)) is None:
            continue
        if found not in checkpoints:
            folder = tmp_path / str(number)
            folder.mkdir()
            write_checkpoint(config, folder)
            checkpoints[found] = folder, our_numbers(folder, found)
        folder, numbers = checkpoints[found]
        try:
            assert relative_error(numbers, transformers_numbers(folder, config)) <= TOLERANCE
        except Exception as error:
            raise AssertionError(f"{change}: {error!r}") from error
