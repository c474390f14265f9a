import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from recursivemas.mlc.model_config import longest_context, mlc_config, transformers4
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


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"max_position_embeddings": 512}, 512),
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
