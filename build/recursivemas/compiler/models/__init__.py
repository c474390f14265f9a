"""Model definitions: from config.json to a model written in `tvm.relax.frontend.nn` modules.

Importing this package does not import TVM, which takes seconds; `make_model` and `param_specs` do.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.families import FAMILIES
from recursivemas.compiler.models.hf_config import read_config
from recursivemas.compiler.models.text_part import text_config
from recursivemas.compiler.params import ParamSpec

__all__ = ["FAMILIES", "ModelConfig", "load_model_config", "make_model", "param_specs"]


def load_model_config(
    config: Mapping[str, Any], *, context_window_size: int | None = None, prefill_chunk_size: int | None = None
) -> ModelConfig:
    """Reads a checkpoint's config.json, in the spelling of transformers 4 or 5.

    Args:
        config: The parsed file.
        context_window_size: Longest context of the compiled library, in tokens; by default the checkpoint's, at most
            4096.
        prefill_chunk_size: Longest input of one call, in tokens; by default the context, at most 1024.

    Raises:
        InputError: The architecture is unknown, a value is missing, or the model would be computed wrongly.
    """
    family, text = text_config(config)
    return read_config(family, text, context_window_size, prefill_chunk_size)


def make_model(config: ModelConfig) -> Any:
    """Makes the model in float32 and unquantized; see `models/llama.py` for its methods."""
    module = importlib.import_module(f"{__name__}.{config.model_type}")
    return getattr(module, FAMILIES[config.model_type].architecture)(config)


def param_specs(config: ModelConfig) -> list[ParamSpec]:
    """Lists every parameter before quantization, in call order."""
    from recursivemas.compiler.models.specs import specs_of

    return list(specs_of(make_model(config), config))
