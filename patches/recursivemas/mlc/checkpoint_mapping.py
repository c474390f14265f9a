"""Which tensors of a checkpoint each of MLC-LLM's parameters is made of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recursivemas.compiler.checkpoint import Checkpoint, listing
from recursivemas.compiler.weights import StoredTensor
from recursivemas.mlc.definition import Definition
from recursivemas.system.errors import InputError

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
        raise InputError(f"MLC-LLM's {definition.architecture} does not say where {listing(unmapped)} to be read from")
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
    name = f"MLC-LLM's {definition.architecture}"
    checkpoint.check_present(wanted, f"{name} needs")
    known = {*wanted, *definition.extern_map.unused_params}
    extra = [each for each in checkpoint.tensors if each not in known]
    if "vision_config" in checkpoint.config:
        extra = [each for each in extra if not _PICTURES.search(each)]
    checkpoint.refuse_extra(extra, wanted, name)
