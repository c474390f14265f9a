"""Functions that every agent's library has beside the model's own: docs/abi.md, built from any model's module.

The module may come from `models/` or from elsewhere (MLC-LLM's definitions): it must have ``get_last_hidden``, and what
else is here is added where it is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import relax, te, tirx

from recursivemas.compiler import links
from recursivemas.compiler.models.attention_kernels import MERGE, merge_state_kernel
from recursivemas.compiler.relax_functions import define
from recursivemas.compiler.sampling import add_sampling
from recursivemas.system.links_file import Variant

ABI_VERSION = 1
_STEP = "get_last_hidden_step"
_HEAD_STEP = "lm_head_step"


@dataclass(frozen=True)
class Signature:
    """What the added functions must know of the model.

    Attributes:
        hidden_size: D.
        dtype: The model dtype.
        params: Type of the packed parameters.
    """

    hidden_size: int
    dtype: str
    params: relax.TupleType


def signature_of(mod: tvm.IRModule) -> Signature:
    """Reads a model's dimensions off its ``get_last_hidden`` (input_embed (1, T, D), paged_kv_cache, packed_params)."""
    embed, _, params = mod["get_last_hidden"].params
    return Signature(int(embed.ty.shape[2]), str(embed.ty.dtype), params.ty)


def complete(mod: tvm.IRModule) -> tvm.IRModule:
    """Adds the functions of docs/abi.md that the module lacks.

    Args:
        mod: With ``get_last_hidden``, and with either ``lm_head`` or both of ``prefill`` and ``decode``.

    Returns:
        A new module; the given one is unchanged.
    """
    signature = signature_of(mod)
    builder = relax.BlockBuilder(_with_own_merge_kernel(mod, signature.dtype))
    present = {name.name_hint for name in mod.get_global_vars()}
    # One position at a time is worth its own, statically shaped code: other schedules, no shape arithmetic.
    # A definition may bring its own, where one position takes another way through the model (mixtures of experts).
    if _STEP in present:
        step = builder.get().get_global_var(_STEP)
    else:
        step = builder.add_func(_with_one_row(mod["get_last_hidden"], _STEP), _STEP)
    if "lm_head" in present:
        head = builder.add_func(_with_one_row(mod["lm_head"], _HEAD_STEP), _HEAD_STEP)
        whole = builder.get().get_global_var("get_last_hidden")
        for name, hidden in (("prefill", whole), ("decode", step)):
            if name not in present:
                _add_logits(builder, name, signature, hidden, head)
    _add_latent_prefill(builder, signature)
    for variant in links.VARIANTS:
        _add_links(builder, variant, signature, step)
    add_sampling(builder, vocabulary_of(builder.get()))
    return builder.finalize()


def function_names(mod: tvm.IRModule) -> list[str]:
    """Names of the functions a page may call, sorted."""
    return sorted(
        name.name_hint
        for name, function in mod.functions_items()
        if function.attrs is not None
        and "global_symbol" in function.attrs
        and (isinstance(function, relax.Function) or name.name_hint.endswith("_inplace"))
    )


def _with_own_merge_kernel(mod: tvm.IRModule, dtype: str) -> tvm.IRModule:
    """A copy of the module in which TVM's kernel, which has a race, is replaced; see `attention_kernels`."""
    mod = mod.clone()
    for name in mod.get_global_vars():
        if name.name_hint == MERGE:
            mod[name] = merge_state_kernel(dtype)
    return mod


def _with_one_row(function: relax.Function, name: str) -> relax.Function:
    """The same function for a first argument whose only symbolic dimension is 1; private, so without a symbol."""
    shape = function.params[0].ty.shape
    symbols = [size for size in shape if isinstance(size, tirx.Var)]
    assert len(symbols) == 1, f"{name}: {shape}"
    bound = function.bind_symbolic_vars({symbols[0]: 1}).without_attr("global_symbol")
    # Passes tell variables of one module apart by identity.
    return relax.utils.copy_with_new_vars(bound)


def _embed_argument(signature: Signature, name: str, positions: int | tirx.Var) -> relax.Var:
    return relax.Var(name, relax.TensorType((1, positions, signature.hidden_size), signature.dtype))


def _model_arguments(signature: Signature) -> tuple[relax.Var, relax.Var]:
    return relax.Var("paged_kv_cache", relax.AnyType()), relax.Var("packed_params", signature.params)


def _call_model(
    builder: relax.BlockBuilder, function: tvm.ir.GlobalVar, *arguments: relax.Expr
) -> tuple[relax.Expr, relax.Expr]:
    result = builder.emit(relax.Call(function, list(arguments)))
    return builder.emit(relax.TupleGetItem(result, 0)), builder.emit(relax.TupleGetItem(result, 1))


def _last_position(builder: relax.BlockBuilder, hidden: relax.Expr) -> relax.Expr:
    """(1, T, D) to (1, 1, D)."""
    if hidden.ty.shape[1] == 1:
        return hidden

    def pick(x: te.Tensor) -> te.Tensor:
        return te.compute((1, 1, x.shape[2]), lambda i, j, k: x[i, x.shape[1] - 1 + j, k], name="last_position")

    return builder.emit_te(pick, hidden, primfunc_name_hint="last_position")


def _add_logits(
    builder: relax.BlockBuilder,
    name: str,
    signature: Signature,
    hidden_function: tvm.ir.GlobalVar,
    head_function: tvm.ir.GlobalVar,
) -> None:
    """``prefill`` or ``decode``: (1, T, D) to the (1, 1, V) logits after the last position."""
    embed = _embed_argument(signature, "input_embed", 1 if name == "decode" else tirx.Var("seq_len", "int64"))
    cache, params = _model_arguments(signature)

    def body() -> relax.Expr:
        hidden, cache_after = _call_model(builder, hidden_function, embed, cache, params)
        last = _last_position(builder, hidden)
        row = builder.emit(relax.op.reshape(last, (1, signature.hidden_size)))
        logits = builder.emit(relax.Call(head_function, [row, params]))
        logits = builder.emit(relax.op.reshape(logits, (1, 1, logits.ty.shape[1])))
        return relax.Tuple([logits, cache_after])

    define(builder, name, [embed, cache, params], body)


def _add_latent_prefill(builder: relax.BlockBuilder, signature: Signature) -> None:
    embed = _embed_argument(signature, "input_embed", tirx.Var("seq_len", "int64"))
    cache, params = _model_arguments(signature)
    function = builder.get().get_global_var("get_last_hidden")

    def body() -> relax.Expr:
        hidden, cache_after = _call_model(builder, function, embed, cache, params)
        return relax.Tuple([_last_position(builder, hidden), cache_after])

    define(builder, "latent_prefill", [embed, cache, params], body)


def _add_links(builder: relax.BlockBuilder, variant: Variant, signature: Signature, step: tvm.ir.GlobalVar) -> None:
    """``inner_link_*``, ``outer_link_*`` and ``latent_step_*`` of one variant."""
    size, dtype = signature.hidden_size, signature.dtype
    inner = links.inner_link_type(variant, size)
    kinds: tuple[tuple[str, relax.TupleType, Callable[..., relax.Expr]], ...] = (
        ("inner_link", inner, links.emit_inner_link),
        ("outer_link", links.outer_link_type(variant, size), links.emit_outer_link),
    )
    for kind, link_type, emit in kinds:
        rows = relax.Var("hidden", relax.TensorType((tirx.Var("rows", "int64"), size), dtype))
        link = relax.Var(kind, link_type)
        define(builder, f"{kind}_{variant}", [rows, link], lambda: emit(builder, variant, rows, link, dtype))  # noqa: B023

    hidden = _embed_argument(signature, "hidden", 1)
    cache, params = _model_arguments(signature)
    link = relax.Var("inner_link", inner)

    def body() -> relax.Expr:
        row = builder.emit(relax.op.reshape(hidden, (1, size)))
        bent = links.emit_inner_link(builder, variant, row, link, dtype)
        embed = builder.emit(relax.op.reshape(bent, (1, 1, size)))
        return relax.Tuple(list(_call_model(builder, step, embed, cache, params)))

    define(builder, f"latent_step_{variant}", [hidden, cache, params, link], body)


def vocabulary_of(mod: tvm.IRModule) -> int:
    """V, read off ``decode``'s logits."""
    return int(mod["decode"].ret_ty.fields[0].shape[2])
