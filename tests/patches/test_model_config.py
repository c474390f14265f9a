import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from recursivemas.architectures.samples import sample_config
from recursivemas.mlc.model_config import longest_context, mlc_config, transformers4
from recursivemas.mlc.recurrent import checkpoint_names, flat_config
from recursivemas.system.errors import InputError


@dataclasses.dataclass
class Config:
    """Like MLC-LLM's: fields without a default are required, and 0 means that a value is derived."""

    hidden_size: int
    attention_bias: bool
    rope_theta: float
    head_dim: int = 0
    n_inner: int = -1
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, source: dict[str, Any]) -> "Config":
        names = {field.name for field in dataclasses.fields(cls)}
        if source.get("hidden_size") == 13:
            raise ValueError("13 is\nunlucky")
        return cls(**{key: value for key, value in source.items() if key in names})


def test_transformers4_spells_rope_as_before() -> None:
    config = transformers4({"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}, "hidden_size": 8})
    assert config == {"rope_theta": 5.0, "rope_scaling": None, "hidden_size": 8}


def test_transformers4_keeps_scaling_under_both_names_of_its_kind() -> None:
    rope = {"rope_theta": 5.0, "rope_type": "llama3", "factor": 8.0}
    scaling = transformers4({"rope_parameters": rope})["rope_scaling"]
    assert scaling == {"rope_type": "llama3", "type": "llama3", "factor": 8.0}


def test_transformers4_takes_the_full_layers_base_and_keeps_the_local_one() -> None:
    rope = {"full_attention": {"rope_theta": 1e6, "rope_type": "default"}, "sliding_attention": {"rope_theta": 1e4}}
    config = transformers4({"rope_parameters": rope})
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)


def test_transformers4_leaves_the_old_spelling_alone() -> None:
    raw = {"rope_theta": 5.0, "rope_scaling": {"type": "linear"}}
    assert transformers4(raw) == raw


def test_transformers4_refuses_what_is_no_object() -> None:
    with pytest.raises(InputError, match="rope_parameters: an object was expected, got list"):
        transformers4({"rope_parameters": []})


def test_mlc_config_fills_in_what_changes_nothing() -> None:
    made = mlc_config(Config, {"hidden_size": 8, "head_dim": None, "n_inner": None})
    assert made == Config(8, False, 10000.0, 0, None)  # type: ignore[arg-type]


def test_mlc_config_names_a_missing_key() -> None:
    with pytest.raises(InputError, match=r"config.json \(fake\): missing key 'hidden_size'"):
        mlc_config(Config, {"model_type": "fake"})


def test_mlc_config_says_why_it_was_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="Config refuses it: 13 is unlucky"):
        mlc_config(Config, {"hidden_size": 13})


def test_rope_scaling_replaces_rope_parameters() -> None:
    raw = {"rope_scaling": {"type": "llama3", "factor": 8.0}, "rope_parameters": {"rope_type": "default"}}
    scaling = transformers4(raw)["rope_scaling"]
    assert scaling == {"type": "llama3", "rope_type": "llama3", "factor": 8.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_causal": False}, "is_causal is False, which MLC-LLM ignores"),
        ({"is_causal": None}, "is_causal is None, which MLC-LLM ignores"),
        ({"logits_scaling": 2.0}, "logits_scaling is 2.0"),
        ({"text_config": {"use_bidirectional_attention": True}}, "use_bidirectional_attention is True"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"ignores rope_scaling \(type 'yarn'\)"),
        ({"rope_scaling": {"type": "linear"}, "rope_parameters": {"rope_type": "default"}}, "ignores rope_scaling"),
        ({"n_layer": 10**6}, "n_layer: at most 256"),
        ({"model_type": "llama", "vocab_size": 9, "hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"model_type": "llama", "vocab_size": 9, "new_key": 1}, "unknown key 'new_key'"),
        ({"model_type": "mistral", "vocab_size": 9, "layer_types": ["full_attention"]}, "layer_types"),
    ],
)
def test_mlc_config_refuses_keys_that_count_and_are_ignored(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mlc_config(Config, {"hidden_size": 8, **change})


def test_mlc_config_takes_null_for_no_quantization() -> None:
    assert mlc_config(Config, {"hidden_size": 8, "quantization_config": None, "is_causal": True}).hidden_size == 8


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"model_type": "llama", "max_position_embeddings": 512, "sliding_window": 8, "use_sliding_window": False}, 8),
        ({"model_type": "mistral", "max_position_embeddings": 8192}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 512, "sliding_window": 128}, 128),
        ({"max_position_embeddings": 512, "sliding_window": 128, "use_sliding_window": False}, 512),
        ({"max_position_embeddings": 512, "sliding_window": None}, 512),
        ({"text_config": {"max_position_embeddings": 64}}, 64),
        (
            {
                "max_position_embeddings": 512,
                "rope_parameters": {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 256},
            },
            256,
        ),
    ],
)
def test_longest_context_stays_where_the_definition_is_right(raw: dict[str, Any], expected: int) -> None:
    assert longest_context(SimpleNamespace(), raw) == expected


def test_longest_context_must_be_known() -> None:
    with pytest.raises(InputError, match="max_position_embeddings"):
        longest_context(SimpleNamespace(), {})


def test_a_recurrent_model_gets_its_layers_from_an_interval() -> None:
    config = sample_config("qwen3_5")
    assert config is not None
    flat = flat_config("qwen3_5", config)
    assert (flat["model_type"], flat["full_attention_interval"]) == ("qwen3_5_text", 2)
    config["text_config"] = {**config["text_config"], "layer_types": ["full_attention", *["linear_attention"] * 3]}
    with pytest.raises(InputError, match="layer_types: one full_attention layer in every 1 was expected"):
        flat_config("qwen3_5", config)


def test_a_checkpoint_of_a_recurrent_model_gets_the_names_that_mlc_llm_expects() -> None:
    tensors = dict.fromkeys(("model.norm.weight", "lm_head.weight", "mtp.norm.weight"))
    nested = dict.fromkeys(("model.language_model.norm.weight", "model.visual.norm.weight"))
    assert checkpoint_names("qwen3_5_text", tensors) == (
        {"model.norm.weight": "model.language_model.norm.weight", "lm_head.weight": "lm_head.weight"},
        ["mtp.norm.weight"],
    )
    assert checkpoint_names("qwen3_5", nested) == (
        {"model.language_model.norm.weight": "model.language_model.norm.weight"},
        ["model.visual.norm.weight"],
    )
