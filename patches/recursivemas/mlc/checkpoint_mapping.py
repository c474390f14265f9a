"""Which tensors of a checkpoint each of MLC-LLM's parameters is made of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.weights import StoredTensor
from recursivemas.mlc.definition import Definition
from recursivemas.system.errors import InputError

_HARMLESS = re.compile(r"(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|(attn|attention)\.(masked_)?bias)$")
"""Buffers that older versions of transformers saved; they follow from `config.json`."""

_PICTURES = re.compile(r"(^|\.)(vision_tower|multi_modal_projector)\.")
"""The parts of a model with vision that only serve pictures; agents get none."""

_PREFIXES = ("transformer.", "model.")
"""Prefixes that a checkpoint of the language model has and one of the bare model lacks; MLC-LLM's mapping expects
one."""


@dataclass(frozen=True)
class CheckpointMapping:
    """Which tensors of a checkpoint make each of MLC-LLM's parameters.

    Attributes:
        order: The parameters before quantization, in call order.
        names: By parameter, the checkpoint's tensors in the order in which MLC-LLM's function takes them.
    """

    order: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]


def map_checkpoint(
    definition: Definition, tensors: Sequence[StoredTensor], checkpoint: Checkpoint
) -> CheckpointMapping:
    """Finds every parameter's tensors and checks that the checkpoint holds exactly those.

    Args:
        definition: The model.
        tensors: What its compiled functions take, in call order.
        checkpoint: The source.

    Raises:
        InputError: A tensor is missing, is not needed, or has a dtype that cannot be read.
    """
    origin = {target: name for name, targets in definition.quantize_map.param_map.items() for target in targets}
    order = tuple(dict.fromkeys(origin.get(tensor.name, tensor.name) for tensor in tensors))
    mapping = definition.extern_map.param_map
    unmapped = [name for name in order if name not in mapping]
    if unmapped:
        raise InputError(f"MLC-LLM's {definition.architecture} does not say where {_listing(unmapped)} to be read from")
    tied = _tied_table(definition, order, checkpoint)
    found = {name: tuple(_locate(source, checkpoint, tied) for source in mapping[name]) for name in order}
    _check_present(definition, [source for sources in found.values() for source in sources], checkpoint)
    return CheckpointMapping(order, found)


def _locate(source: str, checkpoint: Checkpoint, tied: str | None) -> str:
    """The tensor that MLC-LLM's mapping calls `source`."""
    if source in checkpoint.tensors:
        return source
    for prefix in _PREFIXES:
        for other in (f"{prefix}{source}", source.removeprefix(prefix)):
            if other in checkpoint.tensors:
                return other
    if source == "lm_head.weight" and tied is not None:
        return tied
    return source


def _tied_table(definition: Definition, order: Sequence[str], checkpoint: Checkpoint) -> str | None:
    """The embedding table if the output layer shares it; `lm_head.weight` is then not saved."""
    if checkpoint.config.get("tie_word_embeddings") is False:
        return None
    mapping = definition.extern_map.param_map
    for name in order:
        source = _locate(mapping[name][0], checkpoint, None)
        info = checkpoint.tensors.get(source)
        if info is not None and info.shape == (definition.vocab_size, definition.latent.hidden_size):
            return source
    return None


def _check_present(definition: Definition, wanted: Sequence[str], checkpoint: Checkpoint) -> None:
    architecture, folder = definition.architecture, checkpoint.folder
    missing = [name for name in dict.fromkeys(wanted) if name not in checkpoint.tensors]
    if missing:
        raise InputError(f"{folder}: {_listing(missing)} missing that MLC-LLM's {architecture} needs")
    for name in wanted:
        info = checkpoint.tensors[name]
        if info.dtype is None:
            raise InputError(
                f"{info.file}: tensor {name!r} is {info.stored_dtype}; F32, F16 and BF16 can be converted, so start "
                "from the checkpoint before it was quantized"
            )
    known = {*wanted, *definition.extern_map.unused_params}
    extra = [name for name in checkpoint.tensors if name not in known and not _HARMLESS.search(name)]
    if "vision_config" in checkpoint.config:
        extra = [name for name in extra if not _PICTURES.search(name)]
    extra = [name for name in extra if not _is_copy(name, checkpoint, wanted)]
    if extra:
        raise InputError(
            f"{folder}: {_listing(extra)} present that MLC-LLM's {architecture} has no use for; "
            "leaving them out could change what it computes"
        )


def _is_copy(name: str, checkpoint: Checkpoint, wanted: Sequence[str]) -> bool:
    """Whether `name` is a saved copy of the embedding that a tied output layer reads anyway."""
    copy = checkpoint.tensors[name]
    if name != "lm_head.weight" or copy.dtype is None:
        return False
    for other in dict.fromkeys(wanted):
        info = checkpoint.tensors[other]
        if (info.shape, info.dtype) == (copy.shape, copy.dtype):
            pairs = zip(checkpoint.read(name, 1 << 20), checkpoint.read(other, 1 << 20), strict=True)
            if all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in pairs):
                return True
    return False


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor {shown} is" if len(names) == 1 else f"{len(names)} tensors ({shown}{more}) are"
