"""GPT-J's weights: MLC-LLM's mapping uses a name for the attention that MLC-LLM's model does not have."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.tree import mlc_module

_PARTS = ("q_proj", "k_proj", "v_proj")


def _joined(*parts: NDArray[Any], dtype: str) -> NDArray[Any]:
    return np.concatenate(parts, axis=0).astype(dtype)


def huggingface(config: Any, quantization: Any) -> Any:
    """The parameter mapping from MLC-LLM's GPT-J to a checkpoint of transformers.

    Args:
        config: MLC-LLM's configuration object.
        quantization: MLC-LLM's scheme; parameters are converted to its model dtype.
    """
    model = mlc_module("model.gpt_j.gpt_j_model").GPTJForCausalLM(config)
    model.to(quantization.model_dtype)
    mapping = mlc_module("loader").ExternMapping()
    for name, parameter in model.named_parameters():
        stem, _, kind = name.rpartition(".attn.c_attn.")
        sources = [f"{stem}.attn.{part}.{kind}" for part in _PARTS] if stem else [name]
        mapping.add_mapping(name, sources, functools.partial(_joined, dtype=str(parameter.dtype)))
    return mapping


def _apply() -> None:
    entry = mlc_module("model.model").MODELS.get("gptj")
    if entry is not None:
        for source in entry.source:
            entry.source[source] = huggingface


BRIDGE = Bridge(
    "gptj-loader",
    "MLC-LLM's mapping for GPT-J uses transformer.h.0.self_attn.c_attn.weight, but the model calls that parameter "
    "transformer.h.0.attn.c_attn.weight, so no checkpoint loads. The registry gets a mapping with the right names.",
    _apply,
)
