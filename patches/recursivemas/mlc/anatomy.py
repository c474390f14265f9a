"""Finds the parts of an MLC-LLM model by their structure: the decoder body, its layers, and the last normalisation.

MLC-LLM's model classes share no base class and name their parts differently (`model.layers`, `transformer.h`,
`gpt_neox.layers`, `language_model.model`, …). But all are called alike: the body with hidden states and the paged KV
cache, a layer with these and its number. So a part is recognised by its attributes and its call signature.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend import nn

from recursivemas.system.errors import InputError

NEEDED_METHODS = ("embed", "decode", "prefill", "create_paged_kv_cache", "get_default_spec")
"""The methods of MLC-LLM's causal language models that our functions call."""

NEEDED_WITH_STATE = ("embed", "batch_decode", "create_paged_kv_cache", "create_rnn_state", "get_default_spec")
"""The same of models with a recurrent state."""

_LAYER_ARGUMENTS = 3
"""Hidden states, KV cache, layer number. Only the count is checked, because Mixtral's layers have old names for two."""

_NORM_BASES = (nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Part:
    """A module inside another one, which can be replaced for a while.

    Attributes:
        owner: The module that has it as an attribute.
        name: The attribute.
        path: Path from the model, e.g. `language_model.model`.
    """

    owner: Any
    name: str
    path: str

    @property
    def module(self) -> Any:
        """The module itself."""
        return getattr(self.owner, self.name)


@dataclass(frozen=True)
class Anatomy:
    """The parts that our functions need.

    Attributes:
        body: Turns input embeddings and the KV cache into hidden states.
        layers: The `ModuleList` of decoder layers inside the body.
        head_norm: The last normalisation if the output head has it; None if the body does.
    """

    body: Part
    layers: Part
    head_norm: Part | None


def dissect(model: Any) -> Anatomy:
    """Finds the parts of a model.

    Args:
        model: An instance of one of MLC-LLM's causal language models.

    Raises:
        InputError: A part is missing; the message names it.
    """
    kind = type(model).__name__
    needed = NEEDED_WITH_STATE if hasattr(model, "create_rnn_state") else NEEDED_METHODS
    missing = [name for name in needed if not callable(getattr(model, name, None))]
    if missing:
        raise InputError(f"{kind} has no {', '.join(missing)}")
    body = _find_body(model)
    if body is None:
        raise InputError(f"{kind} has no part that takes hidden states and a paged KV cache alone")
    layers = _find_layers(body)
    if layers is None:
        raise InputError(f"{kind}.{body.path} has no list of layers that take hidden states and a paged KV cache")
    if _last_norm(body) is not None:
        return Anatomy(body, layers, None)
    norms = [norm for part in _children(body.owner) if part.name != body.name for norm in _norms_before_output(part)]
    if len(norms) != 1:
        raise InputError(f"{kind}: expected one last normalisation in {body.path} or in the head, found {len(norms)}")
    return Anatomy(body, layers, norms[0])


def is_norm(module: Any) -> bool:
    """Whether a module is TVM's LayerNorm or RMSNorm, or one of MLC-LLM's own classes with `Norm` in its name."""
    return isinstance(module, _NORM_BASES) or (
        isinstance(module, nn.Module) and "Norm" in type(module).__name__ and not list(_children(module))
    )


def _children(module: Any, prefix: str = "") -> Iterator[Part]:
    for name, value in vars(module).items():
        if isinstance(value, nn.Module):
            yield Part(module, name, f"{prefix}{name}")


def _arguments(module: Any) -> list[inspect.Parameter]:
    """The arguments of a module's call; none if it cannot be called."""
    forward = getattr(type(module), "forward", None)
    return [] if forward is None else list(inspect.signature(forward).parameters.values())[1:]


def _is_body(module: Any) -> bool:
    """Whether a module takes hidden states and a paged KV cache, and nothing else but a recurrent state."""
    arguments = _arguments(module)
    if len(arguments) != 2 and not (len(arguments) == 3 and _label(arguments[2]) == "RNNState"):
        return False
    return _label(arguments[1]) == "PagedKVCache" or arguments[1].name == "paged_kv_cache"


def _label(argument: inspect.Parameter) -> str:
    annotation = argument.annotation
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def _find_body(model: Any) -> Part | None:
    """The outermost descendant that takes exactly (hidden states, KV cache), nearest the root first."""
    level = list(_children(model))
    while level:
        for part in level:
            if _is_body(part.module) and _find_layers(part) is not None:
                return part
        level = [inner for part in level for inner in _children(part.module, f"{part.path}.")]
    return None


def _find_layers(body: Part) -> Part | None:
    level = list(_children(body.module, f"{body.path}."))
    while level:
        for part in level:
            items = list(part.module) if isinstance(part.module, nn.ModuleList) else []
            if items and all(len(_arguments(item)) == _LAYER_ARGUMENTS for item in items):
                return part
        level = [inner for part in level for inner in _children(part.module, f"{part.path}.")]
    return None


def _last_norm(body: Part) -> Part | None:
    """The normalisation beside the layers, in the body itself or in the module that has the list of layers."""
    layers = _find_layers(body)
    assert layers is not None
    for owner in (layers.owner, body.module):
        for part in _children(owner):
            if is_norm(part.module):
                return part
    return None


def _norms_before_output(part: Part) -> list[Part]:
    """Normalisations directly inside a head that ends in a linear layer."""
    inner = list(_children(part.module, f"{part.path}."))
    if not any("weight" in vars(child.module) or "q_weight" in vars(child.module) for child in inner):
        return []
    return [child for child in inner if is_norm(child.module)]
