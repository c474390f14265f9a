"""A model's compiled module before it is linked, to count and check what is in it."""

from collections.abc import Mapping
from typing import Any

import tvm

from recursivemas.compiler import abi
from recursivemas.compiler.export import export_config
from recursivemas.compiler.library import library_metadata
from recursivemas.compiler.model_facts import relax_facts
from recursivemas.compiler.models import load_model_config
from recursivemas.compiler.pipeline import Schedule, build_executable, webgpu_target
from recursivemas.system.quantize import find_scheme


def executable_of(
    raw: Mapping[str, Any], quantization: str, subgroup_size: int | None = None, schedule: Schedule = "gpu"
) -> tvm.relax.VMExecutable:
    """Compiles a model for WebGPU.

    Args:
        raw: The content of `config.json`.
        quantization: Name of a scheme.
        subgroup_size: Least size of the subgroups that its kernels use; None for kernels without subgroups.
        schedule: By default that of agents above a hidden size of 256, whatever size this one has.
    """
    config, scheme, target = load_model_config(raw), find_scheme(quantization), webgpu_target()
    ours = {"hidden_size": config.hidden_size, "vocab_size": config.vocab_size, "dtype": scheme.dtype}
    exported = export_config(config, scheme, target)
    metadata = {**library_metadata(relax_facts(config, scheme), exported.tensors, scheme), "recursivemas": ours}
    return build_executable(
        abi.complete(exported.module),
        metadata,
        schedule=schedule,
        bounds={"seq_len": config.prefill_chunk_size},
        target=target,
        subgroup_size=subgroup_size,
    )
