"""Adds to a model's module every function of docs/abi.md that is the same for all models."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import relax, te, tirx
from tvm.relax.frontend.nn import Tensor

from recursivemas.compiler.export import HEAD_STEP, HIDDEN_STEP
from recursivemas.compiler.links import Weights, inner_link, link_type, outer_link, unpack
from recursivemas.compiler.models.attention_kernels import MERGE, merge_state_kernel
from recursivemas.compiler.models.recurrent_state import STATE
from recursivemas.compiler.relax_functions import define
from recursivemas.compiler.sampling import add_sampling
from recursivemas.system.names import LINK_VARIANTS, LinkVariant, LinkVariantInfo

_LinkFunction = Callable[[LinkVariant, Tensor, Weights], Tensor]


@dataclass(frozen=True)
class Signature:
    """What the added functions must know of the model.

    Attributes:
        hidden_size: D.
        dtype: The model dtype.
        params: Type of the packed parameters.
        state: Type of the recurrent state; None if the model has none.
    """

    hidden_size: int
    dtype: str
    params: relax.TupleType
    state: relax.TupleType | None

    @property
    def state_bytes(self) -> int:
        """Size of the recurrent state, which is float32."""
        return sum(4 * math.prod(int(size) for size in each.shape) for each in self.state.fields) if self.state else 0


def signature_of(mod: tvm.IRModule) -> Signature:
    """Reads a model's dimensions off its ``get_last_hidden``.

    It takes input_embed (1, T, D), paged_kv_cache, recurrent_state if it has one, and packed_params.
    """
    embed, _, *state, params = mod["get_last_hidden"].params
    return Signature(int(embed.ty.shape[2]), str(embed.ty.dtype), params.ty, state[0].ty if state else None)


def complete(mod: tvm.IRModule) -> tvm.IRModule:
    """Adds the functions of docs/abi.md that the module lacks.

    Args:
        mod: From `export`.

    Returns:
        A new module; the given one is unchanged.
    """
    signature = signature_of(mod)
    builder = relax.BlockBuilder(_with_own_merge_kernel(mod, signature.dtype))
    whole, step, head = (builder.get().get_global_var(name) for name in ("get_last_hidden", HIDDEN_STEP, HEAD_STEP))
    present = {name.name_hint for name in mod.get_global_vars()}
    for name, hidden in (("prefill", whole), ("decode", step)):
        if name not in present:
            _add_logits(builder, name, signature, hidden, head)
    _add_latent_prefill(builder, signature)
    for form in LINK_VARIANTS:
        _add_links(builder, form, signature, step)
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


def _embed_argument(signature: Signature, name: str, positions: int | tirx.Var) -> relax.Var:
    return relax.Var(name, relax.TensorType((1, positions, signature.hidden_size), signature.dtype))


def _model_arguments(signature: Signature) -> list[relax.Var]:
    """The arguments between the embeddings and a link."""
    state = [relax.Var(STATE, signature.state)] if signature.state else []
    return [relax.Var("paged_kv_cache", relax.AnyType()), *state, relax.Var("packed_params", signature.params)]


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
    model = _model_arguments(signature)

    def body() -> relax.Expr:
        hidden, cache_after = _call_model(builder, hidden_function, embed, *model)
        last = _last_position(builder, hidden)
        row = builder.emit(relax.op.reshape(last, (1, signature.hidden_size)))
        logits = builder.emit(relax.Call(head_function, [row, model[-1]]))
        logits = builder.emit(relax.op.reshape(logits, (1, 1, logits.ty.shape[1])))
        return relax.Tuple([logits, cache_after])

    define(builder, name, [embed, *model], body)


def _add_latent_prefill(builder: relax.BlockBuilder, signature: Signature) -> None:
    embed = _embed_argument(signature, "input_embed", tirx.Var("seq_len", "int64"))
    model = _model_arguments(signature)
    function = builder.get().get_global_var("get_last_hidden")

    def body() -> relax.Expr:
        hidden, cache_after = _call_model(builder, function, embed, *model)
        return relax.Tuple([_last_position(builder, hidden), cache_after])

    define(builder, "latent_prefill", [embed, *model], body)


def _add_links(
    builder: relax.BlockBuilder, form: LinkVariantInfo, signature: Signature, step: tvm.ir.GlobalVar
) -> None:
    """``inner_link_*``, ``outer_link_*`` and ``latent_step_*`` of one variant."""
    size, dtype = signature.hidden_size, signature.dtype
    inner = link_type(form.inner, size, size)
    outer = link_type(form.outer, size, tirx.Var("target_size", "int64"))

    def run(compute: _LinkFunction, hidden: relax.Expr, link: relax.Var) -> relax.Expr:
        """(M, D) in the model dtype through a link, which computes in float32."""
        weights = unpack(link, form.inner if compute is inner_link else form.outer)
        return compute(form.name, Tensor(_expr=hidden).astype("float32"), weights).astype(dtype)._expr

    def add_link(name: str, compute: _LinkFunction, tensors: relax.TupleType) -> None:
        rows = relax.Var("hidden", relax.TensorType((tirx.Var("rows", "int64"), size), dtype))
        link = relax.Var(name, tensors)
        define(builder, f"{name}_{form.name}", [rows, link], lambda: run(compute, rows, link))

    add_link("inner_link", inner_link, inner)
    add_link("outer_link", outer_link, outer)
    hidden = _embed_argument(signature, "hidden", 1)
    model = _model_arguments(signature)
    link = relax.Var("inner_link", inner)

    def body() -> relax.Expr:
        row = builder.emit(relax.op.reshape(hidden, (1, size)))
        embed = builder.emit(relax.op.reshape(run(inner_link, row, link), (1, 1, size)))
        return relax.Tuple(list(_call_model(builder, step, embed, *model)))

    define(builder, f"latent_step_{form.name}", [hidden, *model, link], body)


def vocabulary_of(mod: tvm.IRModule) -> int:
    """V, read off ``decode``'s logits."""
    return int(mod["decode"].ret_ty.fields[0].shape[2])
