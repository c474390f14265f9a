"""Storage buffers of vectors: `array<vec4<f16>>` in place of `array<f16>` where a kernel reads four values at a time.

TVM turns such loads into four loads of one value, because WGSL cannot reinterpret an array. This runs on a device
module, after all of TVM's own passes: a buffer of which every access is four aligned neighbours becomes one of vectors.
"""

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad

from recursivemas.compiler.kernels.script import LANES

PIPELINE = "recursivemas"
"""Name of TVM's default TIR pipeline with this pass behind it."""


def register_pipeline(*lowered: tvm.transform.Pass) -> None:
    """Makes `PIPELINE` known to TVM.

    Args:
        lowered: What else runs on the lowered module, before host and device are told apart.
    """
    default, finish_host, finish_device = tvm.tirx.get_tir_pipeline("default")
    passes = tvm.transform.Sequential([default, *lowered])

    def finish() -> tvm.transform.Pass:
        return tvm.transform.Sequential([finish_device(), VectorStorage()])

    tvm.tirx.register_tir_pipeline(PIPELINE, lambda: (passes, finish_host, finish))


@tvm.transform.module_pass(opt_level=0, name="VectorStorage")
class VectorStorage:
    """Rewrites the functions of a device module."""

    def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Runs on flat buffers with vectorised loops."""
        result = mod.clone()
        for name, function in mod.functions_items():
            result[name] = _rewritten(function)
        return result


def _rewritten(function: tirx.PrimFunc) -> tirx.PrimFunc:
    parameters = set(function.params)
    declared: dict[tirx.Var, tirx.Var] = {}
    aligned: dict[tirx.Var, bool] = {}
    analyzer = tvm.sym.Analyzer()

    def access(buffer: tirx.Var, index: tirx.Expr) -> None:
        vector = isinstance(index, tirx.Ramp) and int(index.lanes) == LANES and int(index.stride) == 1
        vector = vector and analyzer.can_prove_equal(index.base % LANES, 0)
        aligned[buffer] = aligned.get(buffer, True) and vector

    def declare(statement: tirx.stmt.DeclBuffer) -> None:
        if statement.data in parameters:
            declared[statement.buffer] = statement.data

    tvm_ffi.structural_walk(
        function.body,
        [
            (TensorLoad, lambda load: access(load.source, load.indices[0])),
            (tirx.BufferStore, lambda store: access(store.buffer, store.indices[0])),
            (tirx.stmt.DeclBuffer, declare),
        ],
    )
    pointers: dict[tirx.Var, tirx.Var] = {}
    vectors: dict[tirx.Var, tirx.Buffer] = {}
    for buffer, pointer in declared.items():
        if aligned.get(buffer):
            dtype = f"{buffer.dtype}x{LANES}"
            pointers[pointer] = tirx.Var(pointer.name, tvm.ir.PointerType(tvm.ir.PrimType(dtype), "global"))
            count = (buffer.shape[0] + (LANES - 1)) // LANES
            vectors[buffer] = tirx.decl_buffer([count], dtype, buffer.name, data=pointers[pointer])
    return _with_vectors(function, vectors, pointers, analyzer) if vectors else function


def _with_vectors(
    function: tirx.PrimFunc,
    vectors: dict[tirx.Var, tirx.Buffer],
    pointers: dict[tirx.Var, tirx.Var],
    analyzer: tvm.sym.Analyzer,
) -> tirx.PrimFunc:
    def index(ramp: tirx.Ramp) -> tirx.Expr:
        return analyzer.simplify(ramp.base // LANES)

    def load(old: TensorLoad) -> tirx.Expr:
        return vectors[old.source][index(old.indices[0])] if old.source in vectors else old

    def store(old: tirx.BufferStore) -> tirx.Stmt:
        if old.buffer not in vectors:
            return old
        return tirx.BufferStore(vectors[old.buffer], old.value, [index(old.indices[0])])

    def declare(old: tirx.stmt.DeclBuffer) -> tirx.Stmt:
        if old.buffer not in vectors:
            return old
        return tirx.stmt.DeclBuffer(vectors[old.buffer], data=pointers[old.data])

    body = tvm_ffi.structural_map(
        function.body, [(TensorLoad, load), (tirx.BufferStore, store), (tirx.stmt.DeclBuffer, declare)]
    )
    parameters = [pointers.get(parameter, parameter) for parameter in function.params]
    return tirx.PrimFunc(parameters, body, function.ret_type, attrs=function.attrs)
