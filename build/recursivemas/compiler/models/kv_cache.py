"""Creating the paged KV cache, with RoPE from a table of frequencies.

Source: TVM's `TIRPagedKVCache`. It passes LongRoPE's factors to the RoPE kernel; we pass the table of frequencies in
their place, to a kernel of our own (`attention_kernels.py`).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode, TIRPagedKVCache

from recursivemas.compiler.models.attention_kernels import split_rotary_kernel
from recursivemas.compiler.models.config import ModelConfig
from recursivemas.compiler.models.sliding_kernels import DECODE, windowed_decode_kernel
from recursivemas.system.errors import InputError

_ROTARY = "tir_split_rotary"
# Positions among the arguments of vm.builtin.paged_attention_kv_cache_create.
_MLA_APPEND = 14
_SLIDING_ATTENTION = (18, 19)
_TREE_ATTENTION = (20, 21)
_EVERYTHING = 1 << 30


def create_kv_cache(config: ModelConfig, dtype: str, sizes: Mapping[str, tirx.Var]) -> PagedKVCache:
    """Creates an empty cache in the function that is being exported, and adds its kernels to the module.

    Args:
        config: The model.
        dtype: Of keys and values.
        sizes: max_batch_size, max_total_seq_len, prefill_chunk_size, page_size and support_sliding_window.

    Raises:
        InputError: TVM has no attention kernel for the model's heads.
    """
    builder = relax.BlockBuilder.current()
    creation = builder.lookup_binding(_create(config, dtype, sizes)._expr)
    heads = (config.num_attention_heads, config.num_key_value_heads)
    rotary = split_rotary_kernel(*heads, config.head_dim, dtype, config.rotary_dim or config.head_dim)
    builder.update_func(builder.get().get_global_var(_ROTARY), rotary)
    if config.sliding is None:
        creation = _without_kernels(creation, (*_SLIDING_ATTENTION, *_TREE_ATTENTION))
    else:
        creation = _without_kernels(creation, _TREE_ATTENTION)
        if tvm.target.Target.current(allow_none=False).kind.name == "webgpu":
            decode = windowed_decode_kernel(*heads, config.head_dim, config.sliding.window, dtype)
            builder.update_func(builder.get().get_global_var(DECODE), decode)
            creation = _with_one_page_table(creation)
    return PagedKVCache(_expr=creation, _name="paged_kv_cache")


def _create(config: ModelConfig, dtype: str, sizes: Mapping[str, tirx.Var]) -> TIRPagedKVCache:
    try:
        return TIRPagedKVCache(
            attn_kind=_attention_kinds(config),
            layer_sliding_window_size=config.sliding.window if config.sliding else 1,
            **sizes,
            layer_partition=relax.ShapeExpr([0, config.num_attention_layers]),
            num_hidden_layers=config.num_attention_layers,
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
            rope_ext_factors=relax.const(_frequencies(config)),
            rotary_dim=config.head_dim,
            enable_disaggregation=False,
            dtype=dtype,
            target=tvm.target.Target.current(allow_none=False),
        )
    except (ValueError, AssertionError) as error:
        # A kernel's tiles must divide evenly among its threads, which is impossible for some shapes of heads.
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"TVM has no WebGPU attention kernel for head_dim {config.head_dim} with {config.num_attention_heads} "
            f"attention heads and {config.num_key_value_heads} key-value heads: {reason}"
        ) from error


def _with_one_page_table(creation: relax.Call) -> relax.Call:
    """Tells the cache of a window that holds everything, so that it gives all layers the same table of pages.

    The kernels know the true window. See `sliding_kernels.py`.
    """
    sizes = creation.args[1]
    everything = relax.ShapeExpr([*sizes.values[:-1], _EVERYTHING])
    return relax.call_pure_packed(
        str(creation.args[0].global_symbol), everything, *creation.args[2:], ty_args=relax.AnyType()
    )


def _attention_kinds(config: ModelConfig) -> str | list[str]:
    """TVM's name of each layer's attention.

    TVM applies a layer's window to the cached positions but not among those of one call, so a call must not be longer
    than the window (`hf_config.py` sees to that).
    """
    if config.sliding is None or config.layer_types is None:
        return "mha"
    return ["mha_sliding" if kind == "sliding_attention" else "mha" for kind in config.layer_types]


def _frequencies(config: ModelConfig) -> npt.NDArray[np.float32]:
    """RoPE's frequencies; zeros, which turn nothing, if layers differ and the model itself applies RoPE."""
    table = config.rope_frequencies()
    return table if config.sliding is None else np.zeros_like(table)


def _without_kernels(creation: relax.Call, unused: tuple[int, ...]) -> relax.Call:
    """Leaves out the kernel for MLA and the attention kernels that a library never calls.

    They are a third of a library's shaders, and a page compiles all shaders before its first step.
    """
    arguments = list(creation.args[1:])
    arguments[_MLA_APPEND] = relax.prim_value(0)
    for position in unused:
        arguments[position] = relax.Tuple([])
    return relax.call_pure_packed(str(creation.args[0].global_symbol), *arguments, ty_args=relax.AnyType())
