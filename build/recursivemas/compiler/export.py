"""From a model with methods to its module: embed, get_last_hidden, lm_head and the KV cache, as in docs/abi.md.

Both backends export their models here; `abi.complete` then adds what is the same for every model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tvm
from tvm import relax, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.exporter import Exporter
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.models import ModelConfig, make_model, param_specs
from recursivemas.compiler.models.layers import divide_tables, quantize
from recursivemas.compiler.models.recurrent_state import STATE, add_state_functions
from recursivemas.compiler.weights import StoredTensor, row_bytes, stored_tensors
from recursivemas.system.quantize import Scheme

HIDDEN_STEP = "get_last_hidden_step"
HEAD_STEP = "lm_head_step"
_CACHE_SIZES = ("max_batch_size", "max_total_seq_len", "prefill_chunk_size", "page_size", "support_sliding_window")


class LanguageModel(Protocol):
    """What a backend defines of a model. T positions, D hidden size, M latent steps, V vocabulary size."""

    def embed(self, input_ids: Tensor) -> Tensor:
        """(T,) int32 to (T, D)."""

    def get_last_hidden(
        self, input_embed: Tensor, paged_kv_cache: PagedKVCache, *recurrent_state: list[Tensor]
    ) -> Tensor | tuple[Tensor, ...]:
        """(1, T, D) to the hidden states after the final norm, (1, T, D); the cache grows by T positions.

        A model with a recurrent state gets its tensors too and updates them in place. Where nothing else depends on the
        writing, it returns them behind the hidden states.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """(M, D) to (M, V) float32."""

    def create_paged_kv_cache(self, **sizes: tirx.Var) -> PagedKVCache:
        """An empty cache."""


@dataclass(frozen=True)
class Exported:
    """A model's functions.

    Attributes:
        module: embed, get_last_hidden, lm_head and create_tir_paged_kv_cache, and private forms of the second and third
            for one position.
        tensors: What the functions take as `packed_params`, in call order.
    """

    module: tvm.IRModule
    tensors: tuple[StoredTensor, ...]


def export_config(config: ModelConfig, scheme: Scheme, target: tvm.target.Target) -> Exported:
    """Exports a model of `recursivemas.compiler.models`.

    Args:
        config: The model.
        scheme: How its weights are stored and in which dtype it computes.
        target: The GPU; attention kernels are scheduled for it.

    Raises:
        InputError: TVM has no attention kernel for the model's heads.
    """
    model = make_model(config)
    divide_tables(model, lambda columns: row_bytes(columns, scheme))
    model.to(scheme.dtype)
    if scheme.group:
        quantize(model)
    exported = export(model, model, config.hidden_size, scheme.dtype, target, config.recurrent_state_shapes)
    tensors = tuple(tensor for spec in param_specs(config) for tensor in stored_tensors(spec, scheme))
    assert [(each.shape, each.dtype) for each in tensors] == [(each.shape, each.dtype) for each in exported.tensors]
    module = add_state_functions(exported.module, config.recurrent_state_shapes)
    return Exported(module, tensors)


def export(
    parameters: nn.Module,
    model: LanguageModel,
    hidden_size: int,
    dtype: str,
    target: tvm.target.Target,
    state_shapes: Sequence[Sequence[int]] = (),
) -> Exported:
    """Exports any model.

    Args:
        parameters: The module whose parameters the functions take, in the order of its attributes.
        model: Its methods; each is traced once for every function that it becomes.
        hidden_size: D.
        dtype: The model dtype.
        target: The GPU; attention kernels are scheduled for it.
        state_shapes: Shapes of the recurrent state's float32 tensors, if the model has one.
    """

    def get_last_hidden(
        input_embed: Tensor, paged_kv_cache: PagedKVCache, *recurrent_state: list[Tensor]
    ) -> tuple[Tensor, ...]:
        result = model.get_last_hidden(input_embed, paged_kv_cache, *recurrent_state)
        hidden, *written = result if isinstance(result, tuple) else (result,)
        return hidden, paged_kv_cache, *written

    def create_tir_paged_kv_cache(*sizes: tirx.Var) -> PagedKVCache:
        return model.create_paged_kv_cache(**dict(zip(_CACHE_SIZES, sizes, strict=True)))

    def hidden_arguments(positions: int | str) -> dict[str, Any]:
        cache = nn.spec.Object(object_type=PagedKVCache)
        state = nn.spec.Tuple(STATE, [nn.spec.Tensor(shape, "float32") for shape in state_shapes])
        embed = nn.spec.Tensor([1, positions, hidden_size], dtype)
        return {"input_embed": embed, "paged_kv_cache": cache, **({STATE: state} if state_shapes else {})}

    def head_arguments(rows: int | str) -> dict[str, Any]:
        return {"hidden": nn.spec.Tensor([rows, hidden_size], dtype)}

    # One position gets functions of its own: with static shapes TVM schedules them better, and mixtures of experts take
    # another way through their layers.
    functions: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "embed": (model.embed, {"input_ids": nn.spec.Tensor(["seq_len"], "int32")}),
        "get_last_hidden": (get_last_hidden, hidden_arguments("seq_len")),
        HIDDEN_STEP: (get_last_hidden, hidden_arguments(1)),
        "lm_head": (model.logits, head_arguments("rows")),
        HEAD_STEP: (model.logits, head_arguments(1)),
    }
    methods = [_method(method, arguments, "packed") for method, arguments in functions.values()]
    methods.append(_method(create_tir_paged_kv_cache, {name: nn.spec.Int() for name in _CACHE_SIZES}, "none"))
    with target:
        spec = nn.spec.ModuleSpec(parameters, [*functions, "create_tir_paged_kv_cache"], methods)
        module, named_parameters, _ = Exporter(debug=False).build(spec)
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            # With TVM's mark of how many arguments are inputs, a call would no longer check the shapes of the weights.
            module[name] = function.without_attr("num_input")
    for step in (HIDDEN_STEP, HEAD_STEP):  # Private: only latent_step_*, prefill and decode call them.
        module[step] = module[step].without_attr("global_symbol")
    tensors = tuple(
        StoredTensor(name, tuple(int(size) for size in parameter.shape), str(parameter.dtype))
        for name, parameter in named_parameters
    )
    return Exported(_without_unused_kernels(module), tensors)


def _method(method: Callable[..., Any], arguments: Mapping[str, Any], param_mode: str) -> nn.spec.MethodSpec:
    return nn.spec.MethodSpec(method, list(arguments), list(arguments.values()), param_mode, "none")


def _without_unused_kernels(mod: tvm.IRModule) -> tvm.IRModule:
    """Drops kernels that nothing calls; TVM keeps attention kernels because they have symbols of their own."""
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
