"""Runs an exported model on the CPU, to compare its numbers with a reference without a GPU or a browser."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

_PAGE_SIZE = 16
_POSITIONS = 256
_SEQUENCE = 0


def cpu_target() -> tvm.target.Target:
    """The CPU without its newest instructions, because kernels are compared and not timed."""
    return tvm.target.Target("llvm")


class CpuModel:
    """A compiled model with one sequence in its KV cache."""

    def __init__(self, module: tvm.IRModule, weights: Sequence[NDArray[Any]]) -> None:
        """Compiles a module that was exported for `cpu_target`.

        Args:
            module: With embed, get_last_hidden, lm_head and create_tir_paged_kv_cache.
            weights: In call order.
        """
        config = {"tirx.disable_cse_tir": True}
        with tvm.transform.PassContext(opt_level=3, config=config):
            executable = relax.build(module, cpu_target())
        self._device = tvm.cpu()
        self._vm = relax.VirtualMachine(executable, self._device)
        self._params = [tvm.runtime.tensor(each, self._device) for each in weights]
        sizes = [1, _POSITIONS, _POSITIONS, _PAGE_SIZE, 0]
        shapes = [tvm.runtime.ShapeTuple([size]) for size in sizes]
        self._cache = self._vm["create_tir_paged_kv_cache"](*shapes)
        _state("add_sequence")(self._cache, _SEQUENCE)

    def embed(self, input_ids: NDArray[np.int32]) -> NDArray[Any]:
        """(T,) to (T, D)."""
        return _numpy(self._call("embed", tvm.runtime.tensor(input_ids, self._device)))

    def get_last_hidden(self, input_embed: NDArray[Any]) -> NDArray[Any]:
        """(1, T, D) to (1, T, D); appends T positions to the cache."""
        length = tvm.runtime.ShapeTuple([input_embed.shape[1]])
        _state("begin_forward")(self._cache, tvm.runtime.ShapeTuple([_SEQUENCE]), length)
        hidden = self._call("get_last_hidden", tvm.runtime.tensor(input_embed, self._device), self._cache)[0]
        _state("end_forward")(self._cache)
        return _numpy(hidden)

    def lm_head(self, hidden: NDArray[Any]) -> NDArray[Any]:
        """(M, D) to (M, V) float32."""
        return _numpy(self._call("lm_head", tvm.runtime.tensor(hidden, self._device)))

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._vm[name](*arguments, self._params)


def _numpy(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.numpy())


def _state(name: str) -> Any:
    return tvm.get_global_func(f"vm.builtin.kv_state_{name}")


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """‖a − b‖ / ‖b‖."""
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))
