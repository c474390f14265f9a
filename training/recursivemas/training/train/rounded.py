"""Keeps an adapter's base rounded as a build will store it once the adapter is merged.

A build merges an adapter and then packs every matrix into 4 bits, which costs a small model much of what the adapter
taught it. So the base that the adapter is trained on is moved: to what is stored of the merged weights, less the
adapter. The model then computes with the weights that ship, and the adapter learns to live with their rounding. Source
of the idea: straight-through estimation, Bengio et al., arXiv 1308.3432.
"""

from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from recursivemas.system.names import Quantization
from recursivemas.system.quantize import GROUP_SIZE, MAX_INT, find_scheme
from recursivemas.training.shipped_weights import ship_weights

ADAPTER = "default"


def round_to_groups(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """What a build stores of a matrix (out, in), in float32; `GroupQuantizer` in torch, for matrices on a GPU.

    Args:
        weight: float32; `in` is a multiple of 32.
        dtype: The model dtype, in which scales are stored.
    """
    groups = weight.reshape(-1, GROUP_SIZE).to(dtype).float()
    scale = (groups.abs().amax(1, keepdim=True) / MAX_INT).to(dtype).float()
    shifted = ((groups / scale.where(scale > 0, 1)).to(dtype).float() + MAX_INT).to(dtype).float()
    levels = shifted.round().clamp(0, 2 * MAX_INT) - MAX_INT
    return (levels * scale).to(dtype).float().reshape(weight.shape)


class RoundedBase:
    """The base of a model that gets an adapter; made before the adapter is put in.

    Args:
        model: In float32; all of its weights are replaced by what a build stores.
        targets: Ends of the names of the linear layers that get an adapter.
        quantization: The build's.
    """

    def __init__(self, model: nn.Module, targets: tuple[str, ...], quantization: Quantization) -> None:
        scheme = find_scheme(quantization)
        self._packs, self._dtype = scheme.group, getattr(torch, scheme.dtype)
        self._plain = {
            id(module.weight): module.weight.detach().clone()
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and name.split(".")[-1] in targets
        }
        ship_weights(model, quantization)

    @torch.no_grad()
    def update(self, model: Any) -> None:
        """Moves the base so that base and adapter together are what a build would store now."""
        for module in model.modules():
            if not isinstance(module, LoraLinear):
                continue
            weight = cast(Tensor, module.get_base_layer().weight)  # (out, in)
            adapter = module.get_delta_weight(ADAPTER)  # (out, in)
            merged = self._plain[id(weight)] + adapter
            stored = round_to_groups(merged, self._dtype) if self._packs else merged.to(self._dtype).float()
            weight.copy_(stored - adapter)
