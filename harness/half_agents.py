"""Tiny models compiled for float16 as they are shipped, and in PyTorch with the same numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.libraries import Libraries, Library, Ref
from harness.tiny_models import CASES, Case, make_model, save
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import write_weights
from recursivemas.system.quantize import FLOAT32_PARAMETERS, GroupQuantizer, dequantize, find_scheme

Half = NDArray[np.float16]
BUILDS = [(case, "q4f16_1") for case in CASES] + [(CASES[1], "q0f16")]


@dataclass(frozen=True)
class HalfAgent:
    """A tiny model compiled for float16, and in PyTorch with the same numbers.

    Attributes:
        library: On the adapter.
        params: Its packed parameters, uploaded.
        model: float32, eager attention; every weight is what the stored ones stand for.
    """

    library: Library
    params: Ref
    model: Any

    def hidden_states(self, embed: Half, *, half: bool = False) -> NDArray[np.float32]:
        """(1, T, D) to (1, T, D) in PyTorch, in float32 or in float16."""
        with torch.no_grad():
            model = self.model.half() if half else self.model
            inputs = torch.from_numpy(embed if half else embed.astype(np.float32))
            states = model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
            self.model.float()  # exact: every weight is a float16 number
        array: NDArray[np.float32] = states.float().numpy()
        return array


def make_half_agent(libraries: Libraries, files: Path, case: Case, quantization: str) -> HalfAgent:
    """Compiles a case with the GPU's schedules and loads it.

    Args:
        libraries: On an adapter with float16.
        files: Its folder.
        case: The model.
        quantization: A float16 scheme.
    """
    torch.set_num_threads(1)
    scheme = find_scheme(quantization)
    folder = files / f"{case.name}-{scheme.name}"
    folder.mkdir()
    model = make_model(case)
    _round_vectors(model)
    config = load_model_config(save(model, folder / "checkpoint"), prefill_chunk_size=64)
    write_weights(Checkpoint(folder / "checkpoint"), param_specs(config), scheme, folder)
    library = libraries.load(compile_library(config, scheme, folder / "library.wasm", schedule="gpu"))
    _round_as_stored(model, group=scheme.group)
    return HalfAgent(library, library.params(folder), model)


def _round_vectors(model: torch.nn.Module) -> None:
    """Rounds what is stored in float32 whatever the scheme, so that PyTorch's float16 has the same numbers."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] in FLOAT32_PARAMETERS:
                parameter.copy_(parameter.half().float())


def _round_as_stored(model: torch.nn.Module, *, group: bool) -> None:
    quantizer = GroupQuantizer("float16")
    with torch.no_grad():
        for parameter in model.parameters():
            if group and parameter.ndim == 2:
                weight = parameter.numpy()
                value = dequantize(*quantizer.quantize(np.ascontiguousarray(weight)), weight.shape[1])
                parameter.copy_(torch.from_numpy(value.astype(np.float32)))
            else:
                parameter.copy_(parameter.half().float())
