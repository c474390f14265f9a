"""Kernels of which some devices want another form: how a pass finds them and puts the other form in their places."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import tirx

_DESCRIPTION = "recursivemas.kernel"


def described(kernel: tirx.PrimFunc, name: str, **sizes: Any) -> tirx.PrimFunc:
    """The kernel with a note of what it is made from, which passes keep.

    Args:
        kernel: From `script.build`.
        name: Of the function that makes it.
        sizes: That function's arguments, as JSON can hold them.
    """
    return kernel.with_attr(_DESCRIPTION, json.dumps([name, sizes]))


def with_other_forms(mod: tvm.IRModule, makers: Mapping[str, Callable[..., tirx.PrimFunc]]) -> tvm.IRModule:
    """A module with other forms of some kernels.

    Args:
        mod: Not scheduled yet.
        makers: By the name of a kernel, what makes the other form from the kernel's sizes.
    """
    result = mod.clone()
    for name, function in mod.functions_items():
        if not isinstance(function, tirx.PrimFunc) or _DESCRIPTION not in function.attrs:
            continue
        kernel, sizes = json.loads(str(function.attrs[_DESCRIPTION]))
        if kernel in makers:
            kept = {key: value for key, value in function.attrs.items() if key != _DESCRIPTION}
            result[name] = makers[kernel](**sizes).with_attrs(kept)
    return result
