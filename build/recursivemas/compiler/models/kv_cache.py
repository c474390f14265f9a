"""Creating the paged KV cache, with RoPE from a table of frequencies.

Source: TVM's `TIRPagedKVCache`. The cache hands the table to the RoPE kernel where it would hand it LongRoPE's factors;
that kernel and one more are ours, see `attention_kernels`.
"""

import tvm
from tvm import relax, tirx
from tvm.relax.frontend.nn.llm.kv_cache import RopeMode, TIRPagedKVCache

from recursivemas.compiler.models.attention_kernels import split_rotary_kernel
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.system.errors import InputError

FUNCTION = "create_tir_paged_kv_cache"
_ARGUMENTS = ("max_batch_size", "max_total_seq_len", "prefill_chunk_size", "page_size", "support_sliding_window")
_ROTARY = "tir_split_rotary"
# Positions among the arguments of vm.builtin.paged_attention_kv_cache_create.
_MLA_APPEND = 14
_UNUSED_ATTENTION = (18, 19, 20, 21)


def emit_kv_cache(builder: relax.BlockBuilder, config: ModelConfig, dtype: str, target: tvm.target.Target) -> None:
    """Adds the function that creates the cache, and the kernels it uses, to the module being built.

    Args:
        builder: Of the module.
        config: The model.
        dtype: Of keys and values.
        target: The GPU target, which the attention kernels are scheduled for.
    """
    sizes = {name: tirx.Var(name, "int64") for name in _ARGUMENTS}
    arguments = [relax.Var(f"{name}_", relax.ShapeType([size])) for name, size in sizes.items()]
    with builder.function(FUNCTION, arguments):
        cache = _create(config, dtype, target, sizes)
        builder.emit_func_output(builder.emit(_without_unused_kernels(builder.lookup_binding(cache._expr))))
    rotary = builder.get().get_global_var(_ROTARY)
    builder.update_func(
        rotary, split_rotary_kernel(config.num_attention_heads, config.num_key_value_heads, config.head_dim, dtype)
    )


def _create(config: ModelConfig, dtype: str, target: tvm.target.Target, sizes: dict[str, tirx.Var]) -> TIRPagedKVCache:
    try:
        return TIRPagedKVCache(
            attn_kind="mha",
            **sizes,
            layer_partition=relax.ShapeExpr([0, config.num_hidden_layers]),
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            qk_head_dim=config.head_dim,
            v_head_dim=config.head_dim,
            mla_original_qk_head_dim=0,
            mla_original_v_head_dim=0,
            rope_mode=RopeMode.NORMAL,
            rope_scale=1,
            rope_theta=config.rope_theta,
            rope_scaling={},
            rope_ext_factors=relax.const(config.rope_frequencies()),
            rotary_dim=config.head_dim,
            enable_disaggregation=False,
            dtype=dtype,
            target=target,
        )
    except (ValueError, AssertionError) as error:
        # The kernels' tiles must divide evenly among threads, which some shapes of heads do not allow.
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"TVM has no WebGPU attention kernel for head_dim {config.head_dim} with {config.num_attention_heads} "
            f"attention heads and {config.num_key_value_heads} key-value heads: {reason}"
        ) from error


def _without_unused_kernels(creation: relax.Call) -> relax.Call:
    """Leaves out kernels for what no library of ours does: MLA, sliding windows, token trees.

    They are a third of a library's shaders, all of which a page compiles before its first step.
    """
    arguments = list(creation.args[1:])
    arguments[_MLA_APPEND] = relax.prim_value(0)
    for position in _UNUSED_ATTENTION:
        arguments[position] = relax.Tuple([])
    return relax.call_pure_packed(str(creation.args[0].global_symbol), *arguments, ty_args=relax.AnyType())
