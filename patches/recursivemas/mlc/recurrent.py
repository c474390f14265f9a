"""Models of MLC-LLM with a recurrent state beside their KV cache: Qwen3.5.

MLC-LLM keeps such a state in an `RNNState` of TVM's runtime. Our functions take it as a tuple of float32 tensors, which
the page holds (docs/abi.md); `PassedState` stands in for the other while a function is traced.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend.nn import Tensor, op

from recursivemas.compiler.models import FAMILIES, load_model_config
from recursivemas.compiler.models.recurrent_state import copy_kernel
from recursivemas.compiler.models.text_part import text_config, text_names
from recursivemas.mlc.compat.intercept import seeing
from recursivemas.system.errors import InputError

FAMILY_OF = {"qwen3_5": "qwen3_5", "qwen3_5_text": "qwen3_5"}
"""Our name of the family by MLC-LLM's name of an architecture with a recurrent state."""


@dataclass(frozen=True)
class StateShape:
    """What a model's layers with linear attention keep.

    Attributes:
        layers: Their number.
        states: The shape and dtype of each of a layer's states, as MLC-LLM's model asks for it.
    """

    layers: int
    states: tuple[tuple[tuple[int, ...], str], ...]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes of our tensors, layer by layer: rows of the last axis."""
        rows = [(math.prod(shape[:-1]), shape[-1]) for shape, _ in self.states]
        return tuple(rows) * self.layers

    @property
    def nbytes(self) -> int:
        """Size of our tensors."""
        return sum(4 * rows * columns for rows, columns in self.shapes)


class PassedState:
    """In place of an `RNNState`: reads and overwrites the tensors that a function was given.

    Attributes:
        tensors: Layer by layer, the states of each.
    """

    def __init__(self, tensors: Sequence[Tensor], per_layer: int) -> None:
        self.tensors = list(tensors)
        self._per_layer = per_layer

    def get(self, layer_id: int, state_id: int, shape: Sequence[Any], dtype: str) -> Tensor:
        """A layer's state in the shape (1, …) and dtype that the model asks for."""
        return self.tensors[layer_id * self._per_layer + state_id].reshape(*shape).astype(dtype)

    def set(self, layer_id: int, state_id: int, value: Tensor) -> "PassedState":
        """Overwrites it in place."""
        index = layer_id * self._per_layer + state_id
        state = self.tensors[index]
        rows, columns = (int(size) for size in state.shape)
        given = value.reshape(rows, columns).astype("float32")
        kernel = copy_kernel(rows, columns)
        self.tensors[index] = op.tensor_ir_inplace_op(kernel, "recurrent_state_copy", [given, state], 1, state)
        return self


def state_shape(model: Any) -> StateShape | None:
    """What a model's `create_rnn_state` asks for; None if it has no recurrent state."""
    if not hasattr(model, "create_rnn_state"):
        return None
    made: list[StateShape] = []

    class Recorder:
        @staticmethod
        def create(*, num_hidden_layers: int, init_values: Sequence[Any], **_: Any) -> None:
            values = [each.value for each in init_values]
            states = [(tuple(int(size) for size in each.shape), str(each.dtype)) for each in values]
            made.append(StateShape(num_hidden_layers, tuple(states)))

    with seeing(_defining(model), "RNNState", create=Recorder.create):
        model.create_rnn_state(None, None)
    return made[0]


def flat_config(name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The text model's `config.json`, after our own reader has accepted it.

    MLC-LLM's class derives the kinds of layers from their interval.

    Raises:
        InputError: Our reader refuses it, or the layers have no such interval.
    """
    config = load_model_config(raw)
    _, text = text_config(raw)
    types = list(config.layer_types or ())
    interval = types.index("full_attention") + 1
    if types != ["linear_attention" if (layer + 1) % interval else "full_attention" for layer in range(len(types))]:
        raise InputError(
            f"config.json ({name}): layer_types: one full_attention layer in every {interval} was expected"
        )
    return {**text, "full_attention_interval": interval}


def checkpoint_names(name: str, tensors: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """MLC-LLM's names of a checkpoint's tensors by their names in it, and the names that are left out."""
    kept, left_out = text_names(FAMILIES[FAMILY_OF[name]], tensors)
    return {old: _nested(new) for old, new in kept.items()}, left_out


def _nested(name: str) -> str:
    return f"model.language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name


def _defining(model: Any) -> Any:
    return sys.modules[type(model).__module__]
