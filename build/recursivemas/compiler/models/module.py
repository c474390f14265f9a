"""A model's own functions, as an IRModule: embed, get_last_hidden, lm_head and the KV cache."""

import tvm
from tvm import relax, tirx

from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.decoder import Decoder
from recursivemas.compiler.models.kv_cache import emit_kv_cache
from recursivemas.compiler.models.packed import PackedParams
from recursivemas.compiler.models.specs import param_specs
from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.relax_functions import define


def build_module(config: ModelConfig, scheme: Scheme, target: tvm.target.Target) -> tvm.IRModule:
    """Defines a model.

    Args:
        config: The model.
        scheme: How its weights are stored and in which dtype it computes.
        target: The GPU target; attention kernels are scheduled for it.

    Returns:
        A module with embed, get_last_hidden, lm_head and create_tir_paged_kv_cache, as in docs/abi.md.
    """
    builder = relax.BlockBuilder()
    specs = param_specs(config)
    hidden, dtype = config.hidden_size, scheme.dtype

    def parts() -> tuple[relax.Var, Decoder]:
        params = PackedParams(builder, specs, scheme)
        return params.var, Decoder(builder, config, params, dtype)

    packed, decoder = parts()
    input_ids = relax.Var("input_ids", relax.TensorType((tirx.Var("seq_len", "int64"),), "int32"))
    define(builder, "embed", [input_ids, packed], lambda: decoder.embed(input_ids))

    packed, decoder = parts()
    embed = relax.Var("input_embed", relax.TensorType((1, tirx.Var("seq_len", "int64"), hidden), dtype))
    cache = relax.Var("paged_kv_cache", relax.AnyType())
    define(
        builder,
        "get_last_hidden",
        [embed, cache, packed],
        lambda: relax.Tuple([decoder.hidden_states(embed, cache), cache]),
    )

    packed, decoder = parts()
    rows = relax.Var("hidden", relax.TensorType((tirx.Var("rows", "int64"), hidden), dtype))
    define(builder, "lm_head", [rows, packed], lambda: decoder.lm_head(rows))

    emit_kv_cache(builder, config, dtype, target)
    return _without_unused_kernels(builder.finalize())


def _without_unused_kernels(mod: tvm.IRModule) -> tvm.IRModule:
    """Drops kernels that nothing calls; TVM keeps its attention kernels since they carry symbols of their own."""
    kept: dict[tvm.ir.GlobalVar, relax.Function | tirx.PrimFunc] = {}
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function):
            kept[name] = relax.analysis.remove_all_unused(function)

    def keep(expression: relax.Expr) -> None:
        if isinstance(expression, tvm.ir.GlobalVar):
            kept.setdefault(expression, mod[expression])

    for function in list(kept.values()):
        relax.analysis.post_order_visit(function, keep)
    return tvm.IRModule(kept)
