"""Compiles a Relax module for WebGPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import tvm
from tvm import relax, tirx
from tvm.relax import _ffi_api as _relax
from tvm.s_tir import dlight

from recursivemas.compiler.fuse_dequantize import FuseDequantize
from recursivemas.compiler.kernels.vector_storage import PIPELINE, register_pipeline
from recursivemas.compiler.kernels.with_subgroups import EnableSubgroups, WithSubgroups
from recursivemas.compiler.kernels.without_workgroup_memory import WithoutWorkgroupMemory
from recursivemas.compiler.metadata import complete_metadata, with_metadata
from recursivemas.compiler.shaders import Shader, shaders_of
from recursivemas.compiler.shape_functions import CanonicalShapeFunctions
from recursivemas.compiler.weight_checks import WeightsCheckedOnce
from recursivemas.system.errors import InputError

Schedule = Literal["gpu", "software"]

# WebGPU guarantees 256 invocations per workgroup to every page.
THREADS = 256
# Linking drops the list of features that objects use, and wasm-opt then takes only what WebAssembly had at first.
_HOST = {"kind": "llvm", "mtriple": "wasm32-unknown-unknown-wasm", "mcpu": "mvp", "vector-width": 128}


def webgpu_target() -> tvm.target.Target:
    """WebGPU with a WebAssembly host."""
    return tvm.target.Target({"kind": "webgpu", "max_num_threads": THREADS}, host=_HOST)


def build_executable(
    mod: tvm.IRModule,
    metadata: Mapping[str, Any],
    *,
    schedule: Schedule,
    bounds: Mapping[str, int],
    target: tvm.target.Target,
    subgroup_size: int | None = None,
) -> relax.VMExecutable:
    """Lowers and compiles a module.

    Args:
        mod: Has every function of the library but ``_metadata``.
        metadata: What ``_metadata`` returns; memory use and WebGPU limits are added to it.
        schedule: ``gpu``, or ``software`` for adapters that run on the CPU, where workgroup barriers are very slow.
        bounds: Largest value of symbolic dimensions by name, so that memory can be planned ahead.
        target: From `webgpu_target`.
        subgroup_size: Least size of the subgroups that kernels may use; None for kernels without subgroups.

    Raises:
        InputError: A kernel needs more than WebGPU guarantees.
    """
    mod = _with_bounds(mod, bounds)
    config = {
        # With this pass, TVM 0.27 fails to build scaled RoPE.
        "tirx.disable_cse_tir": True,
        # Each function of the library checks its arguments. If every kernel checked them again, the library's own code
        # on the CPU would be three times as large.
        "tirx.disable_assert": True,
    }
    register_pipeline(*([EnableSubgroups()] if subgroup_size else []))
    with target, tvm.transform.PassContext(opt_level=3, config=config):
        mod = _with_tuples_kept(mod, tvm.transform.Sequential(_graph_passes()))
        mod = tvm.transform.Sequential([*_schedule_passes(schedule, subgroup_size), *_lowering_passes()])(mod)
        planned, mod = mod, tvm.transform.Sequential(_finalising_passes())(mod)
        try:
            return _generate(mod, lambda shaders: complete_metadata(planned, metadata, shaders), target)
        except tvm.error.InternalError as error:
            if "workgroup allocations" not in str(error):
                raise
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"this model's attention heads need more workgroup memory than WebGPU guarantees: {reason}"
            ) from error


def _generate(
    mod: tvm.IRModule, metadata_of: Callable[[list[Shader]], dict[str, Any]], target: tvm.target.Target
) -> relax.VMExecutable:
    """What `relax.build` does behind its passes, but kernels first: what they need stands in the metadata."""
    kernels = tvm.IRModule({name: each for name, each in mod.functions_items() if isinstance(each, tirx.PrimFunc)})
    library = tvm.tirx.build(kernels.with_attr("system_lib_prefix", ""), target=target, pipeline=PIPELINE)
    mod = with_metadata(mod, metadata_of(shaders_of(library)))
    builder = relax.ExecBuilder()
    _relax.VMCodeGen(builder, mod)
    constants = dict((mod.attrs or {}).get("const_name_to_constant", {}))
    return relax.VMExecutable(_relax.VMLink(builder, target, library, [], constants))


def _with_bounds(mod: tvm.IRModule, bounds: Mapping[str, int]) -> tvm.IRModule:
    mod = mod.clone()
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function) and bounds:
            mod[name] = function.with_attr("tir_var_upper_bound", dict(bounds))
    return mod


def _with_tuples_kept(mod: tvm.IRModule, passes: tvm.transform.Pass) -> tvm.IRModule:
    """Runs passes on a module whose private functions pass for public ones.

    `FuseTIR` gives a private function each element of a tuple as an argument of its own. The steps of a model would
    take hundreds of weights one by one, and each function that calls them would unpack all of these first.
    """
    private = [
        name.name_hint
        for name, function in mod.functions_items()
        if isinstance(function, relax.Function) and not (function.attrs and "global_symbol" in function.attrs)
    ]
    mod = mod.clone()
    for name in private:
        mod[name] = mod[name].with_attr("global_symbol", name)
    mod = passes(mod)
    for name in private:
        mod[name] = mod[name].without_attr("global_symbol")
    return mod


def _graph_passes() -> Sequence[tvm.transform.Pass]:
    return [
        relax.transform.FuseTransposeMatmul(),
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        relax.transform.LegalizeOps(),
        FuseDequantize(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]


def _schedule_passes(schedule: Schedule, subgroup_size: int | None) -> Sequence[tvm.transform.Pass]:
    gpu = dlight.gpu
    rules = [gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction()] if schedule == "gpu" else []
    own: list[tvm.transform.Pass] = [WithoutWorkgroupMemory()] if schedule == "software" else []
    own += [WithSubgroups(subgroup_size)] if subgroup_size else []
    return [*own, dlight.ApplyDefaultSchedule(*rules, gpu.Fallback())]


def _lowering_passes() -> Sequence[tvm.transform.Pass]:
    return [
        # WGSL has no 64-bit integers.
        tvm.tirx.transform.ForceNarrowIndexToInt32(),
        relax.transform.RewriteDataflowReshape(),
        # Drops the kernels of those reshapes, which a page would compile and never run.
        relax.transform.DeadCodeElimination(),
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
    ]


def _finalising_passes() -> Sequence[tvm.transform.Pass]:
    return [
        relax.transform.LowerAllocTensor(),
        relax.transform.KillAfterLastUse(),
        relax.transform.LowerRuntimeBuiltin(),
        relax.transform.ComputePrimValue(),
        relax.transform.VMShapeLower(),
        WeightsCheckedOnce(),
        CanonicalShapeFunctions(),
        relax.transform.AttachGlobalSymbol(),
    ]
