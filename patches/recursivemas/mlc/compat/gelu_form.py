"""The tanh form of GELU, which MLC-LLM asks for with `approximate=True`."""

import functools
import sys

from tvm.relax.frontend import nn

from recursivemas.mlc.compat.bridge import Bridge


def _apply() -> None:
    for name, module in list(sys.modules.items()):
        table = getattr(module, "ACT2FN", None) if name.startswith("mlc_llm.model.") else None
        for key, function in (table or {}).items():
            if isinstance(function, functools.partial) and function.keywords.get("approximate") is True:
                assert table is not None
                table[key] = functools.partial(nn.gelu, approximate="tanh")


BRIDGE = Bridge(
    "gelu-form",
    "Tables of activations define gelu_new as nn.gelu(approximate=True), but TVM 0.27 computes the tanh form only for "
    "approximate='tanh' and the erf form for anything else. The tables get 'tanh'.",
    _apply,
)
