"""A sweep of config.json: each key means in our definitions what it means in transformers, or it is refused.

The numbers are compared in float32 after two calls with a KV cache, on the CPU and for two configurations in Chromium.
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
    FIRST_CALL,
    Config,
    base_config,
    changed,
    changes,
    our_numbers,
    ours,
    resolved,
    token_ids,
    transformers_numbers,
    write_checkpoint,
)
from harness.libraries import Libraries
from recursivemas.architectures.cpu_model import relative_error
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.models import FAMILIES, ModelConfig, param_specs
from recursivemas.compiler.weights import write_weights
from recursivemas.system.quantize import find_scheme

TOLERANCE = 1e-4
# Kernels of linear attention need a GPU's threads; test_models.py and test_recurrent.py compare their numbers.
ON_CPU = [family for family, each in FAMILIES.items() if not each.linear_attention]
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
    frequencies, local = expected.pop("rope_frequencies"), expected.pop("local_rope_frequencies")
    np.testing.assert_allclose(found.rope_frequencies(), frequencies, rtol=1e-5)
    if local is not None:
        np.testing.assert_allclose(found.local_rope_frequencies(), local, rtol=1e-5)
    assert expected.pop("window") == (found.sliding and found.sliding.window)
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
    if family in ON_CPU:
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


def _everything_else(family: str) -> Config:
    """Another value for every key that counts, and both spellings of RoPE."""
    scaling = {"type": "llama3", "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    change: Config = {
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 16,
        "vocab_size": 53,
        "rms_norm_eps": 0.05,
        "tie_word_embeddings": True,
        "rope_theta": 50,
        "rope_parameters": {"rope_type": "default", "rope_theta": 7.0},
        "rope_scaling": {**scaling, "original_max_position_embeddings": 32},
        "original_max_position_embeddings": 16,
        "sliding_window": 64,
    }
    if family in ("llama", "qwen3", "gemma3_text"):
        change["attention_bias"] = True
    if family == "gemma3_text":
        change |= {
            "rope_parameters": {
                "full_attention": {"rope_type": "default"},
                "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
            },
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "layer_types": ...,
            "sliding_window_pattern": 2,
            "sliding_window": FIRST_CALL + 1,
            "query_pre_attn_scalar": 20,
        }
    return changed(family, change)


@pytest.mark.parametrize("family", ON_CPU)
def test_keys_that_count_give_the_same_numbers_together(family: str, tmp_path: Path) -> None:
    config = _everything_else(family)
    write_checkpoint(config, tmp_path)
    found = ours(config)
    assert found is not None
    assert relative_error(our_numbers(tmp_path, found), transformers_numbers(tmp_path, config)) <= TOLERANCE


@pytest.mark.browser
@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_keys_that_count_give_the_same_numbers_in_chromium(family: str, libraries: Libraries, files: Path) -> None:
    folder = files / f"config-{family}"
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    config = _everything_else(family)
    write_checkpoint(config, checkpoint)
    expected = transformers_numbers(checkpoint, config)
    found = ours(config)
    assert found is not None
    scheme = find_scheme("q0f32")
    write_weights(Checkpoint(checkpoint), param_specs(found), scheme, folder)
    library = libraries.load(compile_library(found, scheme, folder / "library.wasm", schedule="software"))
    params = library.params(folder)
    embeddings = library.call("embed", token_ids(found.vocab_size), params)[None]
    cache = library.kv_cache()
    pieces = (embeddings[:, :FIRST_CALL], embeddings[:, FIRST_CALL:])
    hidden = np.concatenate([cache.forward("get_last_hidden", piece, params)[0] for piece in pieces])
    assert relative_error(hidden, expected[:, : found.hidden_size]) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", ON_CPU)
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
