"""The rounded base of an adapter: base and adapter together are what a build stores of the merged weights."""

import numpy as np
import peft
import pytest
import torch
from torch import nn

from recursivemas.system.names import Quantization
from recursivemas.system.quantize import GroupQuantizer, dequantize
from recursivemas.training.train.rounded import RoundedBase, round_to_groups


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_to_groups_equals_what_a_build_stores(dtype: torch.dtype) -> None:
    weight = torch.randn(24, 96, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    packed = GroupQuantizer(str(dtype).removeprefix("torch.")).quantize(weight.numpy())
    wanted = dequantize(*packed, weight.shape[1]).astype(np.float32)
    np.testing.assert_array_equal(round_to_groups(weight, dtype).numpy(), wanted)


@pytest.mark.parametrize("quantization", ["q4f32_1", "q0f16"])
def test_base_and_adapter_together_are_what_a_build_stores(quantization: Quantization) -> None:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("q_proj", nn.Linear(64, 32, bias=False))
    model.add_module("other", nn.Linear(32, 32, bias=False))
    plain = model.get_submodule("q_proj").get_parameter("weight").detach().clone()
    rounded = RoundedBase(model, ("q_proj",), quantization)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    rounded.update(adapted)
    layer = adapted.base_model.model.q_proj
    merged = plain + layer.get_delta_weight("default")
    stored = round_to_groups(merged, torch.float32) if quantization == "q4f32_1" else merged.half().float()
    identity = torch.eye(64)
    torch.testing.assert_close(layer(identity).T, stored, atol=1e-6, rtol=0)
