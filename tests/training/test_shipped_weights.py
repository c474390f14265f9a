"""Weights that training reads equal those that a build stores, tensor by tensor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.tiny_models import CASES, make_model, save
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import write_weights
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import FLOAT32_PARAMETERS, Scheme, dequantize, find_scheme
from recursivemas.system.system import System
from recursivemas.training.loading import load_recursion, load_weights
from recursivemas.training.shipped_weights import ship_weights
from recursivemas.training.train.trainer import train_system
from tests.training.conftest import MakeSystem


def stored(folder: Path) -> dict[str, Any]:
    tensors = {}
    for shard in json.loads((folder / "tensor-cache.json").read_text())["records"]:
        data = (folder / shard["dataPath"]).read_bytes()
        for record in shard["records"]:
            raw = data[record["byteOffset"] : record["byteOffset"] + record["nbytes"]]
            tensors[record["name"]] = np.frombuffer(raw, record["dtype"]).reshape(record["shape"])
    return tensors


@pytest.mark.parametrize("quantization", ["q0f32", "q0f16", "q4f32_1", "q4f16_1"])
def test_dequantised_weights_are_those_of_the_build(system: System, tmp_path: Path, quantization: Any) -> None:
    declared = system.model_copy(update={"quantization": quantization})
    scheme = find_scheme(quantization)
    for key, agent in load_weights(declared, torch.device("cpu"), "auto", "dequantised").items():
        assert_equal_to_a_build(agent.folder, agent.model, scheme, tmp_path / key)


def test_dequantised_weights_of_a_recurrent_model_are_those_of_the_build(tmp_path: Path) -> None:
    scheme = find_scheme("q4f16_1")
    (case,) = (case for case in CASES if case.name == "qwen3_5")
    model = make_model(case)
    save(model, tmp_path / "checkpoint")
    ship_weights(model, "q4f16_1")
    assert_equal_to_a_build(tmp_path / "checkpoint", model, scheme, tmp_path / "built")
    plain = make_model(case).state_dict()
    for name in FLOAT32_PARAMETERS:
        key = f"model.layers.0.linear_attn.{name}"
        assert torch.equal(plain[key], model.state_dict()[key])


def assert_equal_to_a_build(source: Path, model: torch.nn.Module, scheme: Scheme, folder: Path) -> None:
    """Compares a model's weights with those that a build stores of a checkpoint."""
    folder.mkdir()
    checkpoint = Checkpoint(source)
    specs = param_specs(load_model_config(checkpoint.config, prefill_chunk_size=64))
    write_weights(checkpoint, specs, scheme, folder)
    built, trained = stored(folder), model.state_dict()
    for spec in specs:
        mine = torch.cat([trained[name] for name in spec.sources]).numpy()
        if spec.name in built:
            wanted = built[spec.name]
            assert wanted.dtype == (spec.dtype or scheme.dtype)
        else:
            stem = spec.name.removesuffix("weight")
            wanted = dequantize(built[f"{stem}q_weight"], built[f"{stem}q_scale"], spec.shape[1])
        np.testing.assert_array_equal(mine, wanted.astype(np.float32))


def test_dequantised_weights_train_other_links_and_refuse_bfloat16(make_system: MakeSystem, tmp_path: Path) -> None:
    short = {"inner": {"questions": 8, "steps": 2}, "outer": {"alignment_steps": 1, "steps": 1, "batch_size": 2}}
    plain = train_system(make_system("distillation", **short), tmp_path / "plain")
    shipped = train_system(make_system("distillation", weights="dequantised", **short), tmp_path / "shipped")
    assert not all(torch.equal(a, b) for a, b in zip(plain.parameters(), shipped.parameters(), strict=True))
    with pytest.raises(InputError, match="bfloat16 cannot hold weights 'dequantised'"):
        train_system(make_system("distillation", weights="dequantised", precision="bfloat16"), tmp_path / "half")


def test_a_system_runs_with_the_weights_that_its_links_train_with(make_system: MakeSystem) -> None:
    declared = make_system("distillation", weights="dequantised")
    by_default, shipped, plain = (
        load_recursion(declared, None, weights=each) for each in (None, "dequantised", "checkpoint")
    )
    for key, agent in shipped.agents.items():
        same, other = by_default.agents[key].model.state_dict(), plain.agents[key].model.state_dict()
        weights = agent.model.state_dict()
        assert all(torch.equal(same[name], value) for name, value in weights.items())
        assert not all(torch.equal(other[name], value) for name, value in weights.items())
