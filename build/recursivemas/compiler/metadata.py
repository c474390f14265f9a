"""Adds `_metadata` to a library: what the library says about itself."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from recursivemas.compiler.relax_functions import bound_values
from recursivemas.compiler.shaders import Shader, needed_limits

FUNCTION = "_metadata"


def complete_metadata(mod: tvm.IRModule, metadata: Mapping[str, Any], shaders: list[Shader]) -> dict[str, Any]:
    """Adds ``memory_usage`` and ``recursivemas.required_limits`` to the metadata.

    Args:
        mod: Its memory must be planned already.
        metadata: The rest.
        shaders: Of the module's kernels.
    """
    ours = {**metadata["recursivemas"], "required_limits": required_limits(mod, metadata, shaders)}
    return {**metadata, "recursivemas": ours, "memory_usage": memory_usage(mod)}


def with_metadata(mod: tvm.IRModule, metadata: Mapping[str, Any]) -> tvm.IRModule:
    """Adds the function that returns the metadata as JSON to a module that is ready for code generation."""
    text = json.dumps(metadata)
    builder = relax.BlockBuilder()
    with builder.function(FUNCTION, []):
        builder.emit_func_output(tvm.ir.StringImm(text))
    mod = mod.clone()
    mod[FUNCTION] = builder.finalize()[FUNCTION].with_attr("global_symbol", FUNCTION)
    return mod


def required_limits(mod: tvm.IRModule, metadata: Mapping[str, Any], shaders: list[Shader]) -> dict[str, int]:
    """The WebGPU limits that a device must offer, by name.

    The largest buffer is a parameter, the logits, a temporary, or a chunk's embeddings. The KV cache does not count,
    because the caller chooses its size.
    """
    temporary = max((size for function in mod.functions.values() for size in _storages(function)), default=0)
    parameters = [math.prod(each["shape"]) * np.dtype(each["dtype"]).itemsize for each in metadata.get("params", [])]
    ours = metadata["recursivemas"]
    chunk = int(metadata["prefill_chunk_size"]) * ours["hidden_size"] * np.dtype(ours["dtype"]).itemsize
    largest = max(temporary, chunk, 4 * ours["vocab_size"], *parameters)
    return {
        "maxBufferSize": largest,
        "maxStorageBufferBindingSize": largest,
        **needed_limits(shaders),
    }


def memory_usage(mod: tvm.IRModule) -> dict[str, int]:
    """Bytes of temporary storage of each public function, including the functions that it calls."""
    own: dict[str, int] = {}
    called: dict[str, set[str]] = {}
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function):
            own[name.name_hint], called[name.name_hint] = sum(_storages(function)), _called(function)
    return {
        name: own[name] + sum(own[each] for each in _reachable(name, called))
        for name in sorted(own)
        if mod[name].attrs is not None and "global_symbol" in mod[name].attrs
    }


def _storages(function: relax.Function | tirx.PrimFunc) -> list[int]:
    """Bytes of each temporary of a function; 0 if its size is unknown."""
    sizes: list[int] = []
    for value in bound_values(function):
        if isinstance(value, relax.Call) and getattr(value.op, "name", None) == "relax.memory.alloc_storage":
            size = value.args[0].values[0]
            sizes.append(int(size) if isinstance(size, tirx.IntImm) else 0)
    return sizes


def _called(function: relax.Function) -> set[str]:
    return {
        value.op.name_hint
        for value in bound_values(function)
        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar)
    }


def _reachable(name: str, called: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = list(called[name])
    while left:
        each = left.pop()
        if each in called and each not in found:
            found.add(each)
            left += called[each]
    return found
