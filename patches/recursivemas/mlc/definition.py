"""MLC-LLM's model for a checkpoint, and its functions as our pipeline takes them."""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.relax.frontend import nn

from recursivemas.compiler.export import Exported, export
from recursivemas.compiler.model_facts import CacheShape
from recursivemas.compiler.models.recurrent_state import add_state_functions
from recursivemas.mlc.compat.kv_cache import CacheBuild, building
from recursivemas.mlc.corrections import Corrections, corrections_for
from recursivemas.mlc.hidden_states import LatentModel, expose
from recursivemas.mlc.importing import Mlc
from recursivemas.mlc.model_config import longest_context, mlc_config, transformers4
from recursivemas.mlc.recurrent import FAMILY_OF, flat_config
from recursivemas.mlc.score_cap import cap_scores
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import Scheme

_VOCABULARY = "vocab_size"
"""The symbolic size of some of MLC-LLM's embeddings, so that a table may have spare rows."""

_ALIASES = {"gpt_j": "gptj"}


@dataclass(frozen=True)
class Definition:
    """A model of MLC-LLM, ready to be exported.

    Attributes:
        architecture: Its name in MLC-LLM's registry.
        config: MLC-LLM's configuration object.
        latent: The (quantized) model with its hidden states exposed.
        quantize_map: MLC-LLM's mapping of parameters to quantized ones.
        extern_map: MLC-LLM's mapping of parameters to a checkpoint's tensors.
        vocab_size: V.
        longest_context: The longest context, in tokens, for which MLC-LLM computes what the checkpoint's own code does.
        corrections: For differences from that code.
    """

    architecture: str
    config: Any
    latent: LatentModel
    quantize_map: Any
    extern_map: Any
    vocab_size: int
    longest_context: int
    corrections: Corrections


def architecture_of(mlc: Mlc, raw: Mapping[str, Any]) -> str:
    """The registry's name for a checkpoint.

    Raises:
        InputError: MLC-LLM does not have it, or it is no language model.
    """
    model_type = raw.get("model_type")
    name = _ALIASES.get(str(model_type), str(model_type))
    if name not in mlc.models or getattr(mlc.models[name], "model_task", "chat") != "chat":
        known = ", ".join(sorted(key for key, each in mlc.models.items() if each.model_task == "chat"))
        raise InputError(f"model_type {model_type!r}: not one of MLC-LLM's language models ({known})")
    return name


def define(mlc: Mlc, raw: Mapping[str, Any], scheme: Scheme, target: tvm.target.Target) -> Definition:
    """Makes MLC-LLM's model for a checkpoint.

    Args:
        mlc: The imported MLC-LLM.
        raw: The parsed `config.json`.
        scheme: How weights are stored.
        target: The GPU; MLC-LLM's loaders export their model for it to list its parameters.

    Raises:
        InputError: MLC-LLM or our functions do not support this model.
    """
    name = architecture_of(mlc, raw)
    entry = mlc.models[name]
    if name in FAMILY_OF:
        raw = flat_config(name, raw)
        config = entry.config.from_dict(dict(raw))
    else:
        config = mlc_config(entry.config, raw)
    quantization = copy.deepcopy(mlc.quantizations[scheme.name])
    if quantization.kind not in entry.quantize:
        raise InputError(f"MLC-LLM's {name} cannot be stored as {scheme.name}; it offers {', '.join(entry.quantize)}")
    corrections = corrections_for(name, config, transformers4(raw))
    vocab_size = _vocab_size(config, raw)
    with target, building(CacheBuild(placeholder=True)):
        model, quantize_map = entry.quantize[quantization.kind](config, quantization)
        _bind_vocabulary(model, vocab_size, name)
        latent = expose(model, scheme.dtype, corrections)
        extern_map = entry.source["huggingface-safetensor"](config, quantization)
    return Definition(
        architecture=name,
        config=config,
        latent=latent,
        quantize_map=quantize_map,
        extern_map=extern_map,
        vocab_size=vocab_size,
        longest_context=longest_context(config, raw),
        corrections=corrections,
    )


def export_definition(definition: Definition, target: tvm.target.Target) -> tuple[Exported, CacheShape]:
    """Exports a model's functions.

    Args:
        definition: The model.
        target: The GPU; attention kernels are scheduled for it.

    Returns:
        The functions, and what the KV cache holds.

    Raises:
        InputError: The model has no paged KV cache.
    """
    latent = definition.latent
    build = CacheBuild(definition.corrections.interleaved_rope)
    with building(build):
        shapes = latent.state.shapes if latent.state is not None else ()
        exported = export(latent.model, latent, latent.hidden_size, latent.dtype, target, shapes)
    exported = dataclasses.replace(exported, module=add_state_functions(exported.module, shapes))
    if build.made is None:
        raise InputError(f"MLC-LLM's {definition.architecture} has no paged KV cache")
    if definition.corrections.score_cap is not None:
        capped = cap_scores(exported.module, definition.corrections.score_cap)
        exported = dataclasses.replace(exported, module=capped)
    return exported, build.made


def _bind_vocabulary(model: Any, vocab_size: int, architecture: str) -> None:
    """Sets the number of rows of tables for which MLC-LLM leaves it open, to the one in `config.json`.

    Raises:
        InputError: Another size is left open.
    """
    for name, parameter in model.named_parameters():
        open_sizes = [size.name for size in parameter.shape if isinstance(size, tirx.Var)]
        if not open_sizes:
            continue
        if set(open_sizes) != {_VOCABULARY}:
            raise InputError(f"MLC-LLM's {architecture} leaves the size of {name} open: {', '.join(open_sizes)}")
        shape = [vocab_size if isinstance(size, tirx.Var) else size for size in parameter.shape]
        parameter._expr = nn.Tensor.placeholder(shape, parameter.dtype, name)._expr


def _vocab_size(config: Any, raw: Mapping[str, Any]) -> int:
    size = getattr(config, "vocab_size", None) or raw.get("vocab_size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"config.json: vocab_size: a positive integer was expected, got {size!r}")
    return size
