"""`RNNState.create`: our functions pass the tensors of a recurrent state instead (`recurrent.py`)."""

import contextlib
from typing import Any

from tvm import relax

from recursivemas.mlc.compat.bridge import Bridge
from recursivemas.mlc.tree import mlc_module


def create(**_: Any) -> Any:
    """An empty value; MLC-LLM's loader exports the function only to list a model's parameters."""
    nothing = relax.call_pure_packed("vm.builtin.null_value", ty_args=relax.AnyType())
    return mlc_module("nn.rnn_state").RNNState(_expr=nothing, _name="rnn_state")


def _apply() -> None:
    with contextlib.suppress(ModuleNotFoundError):  # Versions without recurrent models do not have it.
        mlc_module("nn.rnn_state").RNNState.create = staticmethod(create)


BRIDGE = Bridge(
    "rnn-state",
    "RNNState.create reads the data of constants under a name that TVM 0.27 no longer has. Nothing calls the function "
    "in our libraries, which take a recurrent state as tensors, so it now makes an empty value.",
    _apply,
)
