"""Model definitions: from config.json to a Relax module.

`load_model_config` and `param_specs` need no TVM; `build_module` does.
"""

from collections.abc import Mapping
from typing import Any

from recursivemas.compiler.models import llama, mistral, qwen2, qwen3
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.hf_config import Family, read_config
from recursivemas.compiler.models.specs import param_specs
from recursivemas.system.errors import InputError

__all__ = ["FAMILIES", "ModelConfig", "load_model_config", "param_specs"]

FAMILIES: dict[str, Family] = {module.FAMILY.model_type: module.FAMILY for module in (qwen2, qwen3, llama, mistral)}


def load_model_config(
    config: Mapping[str, Any], *, context_window_size: int | None = None, prefill_chunk_size: int | None = None
) -> ModelConfig:
    """Reads a checkpoint's config.json, in transformers 4's or 5's spelling.

    Args:
        config: The parsed file.
        context_window_size: Longest context of the compiled library, in tokens; by default the checkpoint's, at most
            4096.
        prefill_chunk_size: Longest input of one call, in tokens; by default the context, at most 1024.

    Raises:
        InputError: For an unknown architecture, a missing value, and everything that would be computed wrongly.
    """
    model_type = config.get("model_type")
    supported = ", ".join(f"{each.model_type} ({each.architecture})" for each in FAMILIES.values())
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise InputError(f"config.json: model_type {model_type!r} is not implemented; supported: {supported}")
    architectures = config.get("architectures") or [family.architecture]
    if list(architectures) != [family.architecture]:
        raise InputError(f"config.json: architectures {architectures} are not implemented; supported: {supported}")
    return read_config(family, config, context_window_size, prefill_chunk_size)
