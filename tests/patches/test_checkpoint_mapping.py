from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.weights import StoredTensor
from recursivemas.mlc.checkpoint_mapping import map_checkpoint
from recursivemas.mlc.weights import MlcWeights
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import SCHEMES, GroupQuantizer

TABLE = np.arange(24, dtype=np.float32).reshape(6, 4)


def _definition(mapping: dict[str, list[str]], unused: set[str] | None = None, quantized: Any = None) -> Any:
    return SimpleNamespace(
        architecture="fake",
        vocab_size=6,
        latent=SimpleNamespace(hidden_size=4),
        extern_map=SimpleNamespace(
            param_map=mapping,
            map_func=dict.fromkeys(mapping, lambda *parts: np.concatenate(parts) + 1),
            unused_params=unused or set(),
        ),
        quantize_map=SimpleNamespace(param_map=quantized or {}),
    )


def _checkpoint(folder: Path, config: str = "{}", **tensors: Any) -> Checkpoint:
    (folder / "config.json").write_text(config)
    save_file({name.replace("__", "."): value for name, value in tensors.items()}, folder / "model.safetensors")
    return Checkpoint(folder)


def _stored(*names: str) -> list[StoredTensor]:
    return [StoredTensor(name, (6, 4), "float32") for name in names]


def test_map_checkpoint_takes_either_prefix(tmp_path: Path) -> None:
    checkpoint = _checkpoint(tmp_path, transformer__wte__weight=TABLE)
    found = map_checkpoint(_definition({"wte": ["wte.weight"]}), _stored("wte"), checkpoint)
    assert found.names == {"wte": ("transformer.wte.weight",)}


def test_map_checkpoint_takes_the_table_for_a_tied_output_layer(tmp_path: Path) -> None:
    mapping = {"embed": ["embed.weight"], "head": ["lm_head.weight"]}
    checkpoint = _checkpoint(tmp_path, embed__weight=TABLE)
    assert map_checkpoint(_definition(mapping), _stored(*mapping), checkpoint).names["head"] == ("embed.weight",)


def test_map_checkpoint_refuses_an_untied_output_layer_that_is_missing(tmp_path: Path) -> None:
    mapping = {"embed": ["embed.weight"], "head": ["lm_head.weight"]}
    checkpoint = _checkpoint(tmp_path, '{"tie_word_embeddings": false}', embed__weight=TABLE)
    with pytest.raises(InputError, match=r"tensor 'lm_head\.weight' is missing that MLC-LLM's fake needs"):
        map_checkpoint(_definition(mapping), _stored(*mapping), checkpoint)


def test_map_checkpoint_refuses_what_the_model_has_no_use_for(tmp_path: Path) -> None:
    definition = _definition({"a": ["a"]}, unused={"known"})
    arguments = {"a": TABLE, "known": TABLE[0], "x__rotary_emb__inv_freq": TABLE[0]}
    map_checkpoint(definition, _stored("a"), _checkpoint(tmp_path, **arguments))
    with pytest.raises(InputError, match="tensor 'extra' is present"):
        map_checkpoint(definition, _stored("a"), _checkpoint(tmp_path, **arguments, extra=TABLE))


def test_map_checkpoint_leaves_out_what_is_for_pictures_alone(tmp_path: Path) -> None:
    tensors = {"a": TABLE, "model__vision_tower__patch": TABLE, "multi_modal_projector__norm": TABLE[0]}
    definition, stored = _definition({"a": ["a"]}), _stored("a")
    found = map_checkpoint(definition, stored, _checkpoint(tmp_path, '{"vision_config": {}}', **tensors))
    assert found.names == {"a": ("a",)}
    with pytest.raises(InputError, match="2 tensors"):
        map_checkpoint(definition, stored, _checkpoint(tmp_path, **tensors))


def test_map_checkpoint_refuses_a_parameter_nobody_maps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say where tensor 'b' is to be read from"):
        map_checkpoint(_definition({"a": ["a"]}), _stored("a", "b"), _checkpoint(tmp_path, a=TABLE))


def test_map_checkpoint_refuses_integers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is I32; F32, F16 and BF16"):
        map_checkpoint(_definition({"a": ["a"]}), _stored("a"), _checkpoint(tmp_path, a=TABLE.astype(np.int32)))


def _weights(tmp_path: Path, definition: Any, stored: list[StoredTensor], scheme: str, **tensors: Any) -> MlcWeights:
    checkpoint = _checkpoint(tmp_path, **tensors)
    sources = map_checkpoint(definition, stored, checkpoint)
    return MlcWeights(definition, stored, sources, checkpoint, SCHEMES[scheme])


def test_arrays_applies_the_mapping_and_quantizes_experts_row_by_row(tmp_path: Path) -> None:
    experts = np.random.default_rng(0).standard_normal((2, 3, 64)).astype(np.float32)
    stored = [StoredTensor("e.q_weight", (2, 3, 8), "uint32"), StoredTensor("e.q_scale", (2, 3, 2), "float32")]
    definition = _definition({"e.weight": ["e"]}, quantized={"e.weight": ["e.q_weight", "e.q_scale"]})
    weights = _weights(tmp_path, definition, stored, "q4f32_1", e=experts)
    values = {tensor.name: value for tensor, value in weights.arrays()}
    q_weight, q_scale = GroupQuantizer("float32").quantize((experts + 1).reshape(6, 64))
    np.testing.assert_array_equal(values["e.q_weight"], q_weight.reshape(2, 3, 8))
    np.testing.assert_array_equal(values["e.q_scale"], q_scale.reshape(2, 3, 2))


def test_arrays_names_the_tensors_of_a_wrong_shape(tmp_path: Path) -> None:
    weights = _weights(tmp_path, _definition({"a": ["a"]}), _stored("a"), "q0f32", a=TABLE[:5])
    with pytest.raises(InputError, match=r"'a': a came out with shape \[5, 4\], config.json asks for \[6, 4\]"):
        list(weights.arrays())


def test_arrays_refuses_nan(tmp_path: Path) -> None:
    broken = TABLE.copy()
    broken[3, 3] = np.nan
    weights = _weights(tmp_path, _definition({"a": ["a"]}), _stored("a"), "q0f32", a=broken)
    with pytest.raises(InputError, match="'a': holds NaN"):
        list(weights.arrays())
