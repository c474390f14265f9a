"""Gives an agent the weights that ship: rounded, or packed into 4 bits and unpacked again, as a build stores them.

Links that train on these weights read the hidden states that the page computes, up to the rounding of activations.
"""

import numpy as np
import torch
from torch import nn

from recursivemas.system.errors import InputError
from recursivemas.system.names import Quantization
from recursivemas.system.quantize import (
    FLOAT32_PARAMETERS,
    BadWeightsError,
    GroupQuantizer,
    Scheme,
    cast,
    dequantize,
    find_scheme,
    row_blocks,
)

_BLOCK_VALUES = 1 << 22


@torch.no_grad()
def ship_weights(model: nn.Module, quantization: Quantization) -> None:
    """Replaces every weight by what a build stores of it.

    Args:
        model: In float32; changed in place.
        quantization: The build's.

    Raises:
        InputError: A weight cannot be stored, or the model has matrices other than linear layers and embeddings.
    """
    scheme = find_scheme(quantization)
    packed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)}
    plain = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv1d)}
    for name, parameter in model.named_parameters():  # a tied weight comes once
        if parameter.ndim > 1 and id(parameter) not in packed | plain:
            raise InputError(f"weights 'dequantised' know linear layers and embeddings only, not {name!r}")
        if name.rpartition(".")[2] in FLOAT32_PARAMETERS:
            continue
        try:
            _ship(parameter, scheme, scheme.group and id(parameter) in packed)
        except BadWeightsError as error:
            raise InputError(f"tensor {name!r} {error}") from None


def _ship(parameter: nn.Parameter, scheme: Scheme, packs: bool) -> None:
    """Rounds one parameter, a block of rows at a time, because unpacking needs several times the memory."""
    quantizer = GroupQuantizer(scheme.dtype) if packs else None
    for first, count in row_blocks(tuple(parameter.shape), _BLOCK_VALUES):
        rows = parameter[first : first + count]
        source = np.ascontiguousarray(rows.float().cpu().numpy())
        stored = dequantize(*quantizer.quantize(source), source.shape[1]) if quantizer else cast(source, scheme.dtype)
        rows.copy_(torch.from_numpy(stored.astype(np.float32)))
