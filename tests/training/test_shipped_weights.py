"""Weights that training reads equal those that a build stores, tensor by tensor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import write_weights
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import dequantize, find_scheme
from recursivemas.system.system import System
from recursivemas.training.loading import load_weights
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
        folder = tmp_path / key
        folder.mkdir()
        checkpoint = Checkpoint(agent.folder)
        specs = param_specs(load_model_config(checkpoint.config, prefill_chunk_size=64))
        write_weights(checkpoint, specs, scheme, folder)
        built, trained = stored(folder), agent.model.state_dict()
        for spec in specs:
            mine = torch.cat([trained[source] for source in spec.sources]).numpy()
            if spec.name in built:
                wanted = built[spec.name]
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
