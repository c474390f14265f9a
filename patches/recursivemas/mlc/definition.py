"""A checkpoint's model as MLC-LLM defines it, exported with the functions that our pipeline builds on."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn.exporter import Exporter
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.weights import StoredTensor
from recursivemas.mlc.compat.kv_cache import CacheBuild, CacheShape, building
from recursivemas.mlc.corrections import Corrections, corrections_for
from recursivemas.mlc.hidden_states import LatentModel, expose
from recursivemas.mlc.model_config import longest_context, mlc_config, transformers4
from recursivemas.mlc.score_cap import cap_scores
from recursivemas.mlc.source import Mlc
from recursivemas.system.errors import InputError

_VOCABULARY = "vocab_size"
"""The symbolic size that MLC-LLM gives some embeddings, so that a table may have spare rows."""

_STEP = "get_last_hidden_step"
"""Name under which `recursivemas.compiler.abi` looks for a definition's own step."""

_ALIASES = {"gpt_j": "gptj"}


@dataclass(frozen=True)
class Definition:
    """A model of MLC-LLM, ready to be exported.

    Attributes:
        architecture: Its name in MLC-LLM's registry.
        config: MLC-LLM's configuration object.
        latent: The (quantized) model with its hidden states exposed.
        quantize_map: MLC-LLM's mapping of parameters to quantized ones.
        extern_map: MLC-LLM's mapping of parameters to a checkpoint's tensors.
        vocab_size: V.
        longest_context: Most positions for which MLC-LLM computes what the checkpoint's own code does.
        corrections: What is done about differences from that code.
    """

    architecture: str
    config: Any
    latent: LatentModel
    quantize_map: Any
    extern_map: Any
    vocab_size: int
    longest_context: int
    corrections: Corrections


def architecture_of(mlc: Mlc, raw: Mapping[str, Any]) -> str:
    """The registry's name for a checkpoint.

    Raises:
        InputError: MLC-LLM does not have it, or it is no language model.
    """
    model_type = raw.get("model_type")
    name = _ALIASES.get(str(model_type), str(model_type))
    if name not in mlc.models or getattr(mlc.models[name], "model_task", "chat") != "chat":
        known = ", ".join(sorted(key for key, each in mlc.models.items() if each.model_task == "chat"))
        raise InputError(f"model_type {model_type!r}: not one of MLC-LLM's language models ({known})")
    return name


def define(mlc: Mlc, raw: Mapping[str, Any], scheme: Scheme, target: tvm.target.Target) -> Definition:
    """Makes MLC-LLM's model for a checkpoint's configuration.

    Args:
        mlc: The imported MLC-LLM.
        raw: The parsed `config.json`.
        scheme: How weights are stored.
        target: What will be compiled for; MLC-LLM's loaders export their model to list its parameters.

    Raises:
        InputError: MLC-LLM or our functions cannot have this model; one line says why.
    """
    name = architecture_of(mlc, raw)
    entry = mlc.models[name]
    config = mlc_config(entry.config, raw)
    quantization = copy.deepcopy(mlc.quantizations[scheme.name])
    if quantization.kind not in entry.quantize:
        raise InputError(f"MLC-LLM's {name} cannot be stored as {scheme.name}; it offers {', '.join(entry.quantize)}")
    corrections = corrections_for(name, config, transformers4(raw))
    vocab_size = _vocab_size(config, raw)
    with target, building(CacheBuild(placeholder=True)):
        model, quantize_map = entry.quantize[quantization.kind](config, quantization)
        _bind_vocabulary(model, vocab_size, name)
        latent = expose(model, scheme.dtype, corrections)
        extern_map = entry.source["huggingface-safetensor"](config, quantization)
    return Definition(
        architecture=name,
        config=config,
        latent=latent,
        quantize_map=quantize_map,
        extern_map=extern_map,
        vocab_size=vocab_size,
        longest_context=longest_context(config, raw),
        corrections=corrections,
    )


@dataclass(frozen=True)
class Exported:
    """A model's functions.

    Attributes:
        module: embed, get_last_hidden, lm_head and create_tir_paged_kv_cache, as in docs/abi.md.
        tensors: What they take as `packed_params`, in call order.
        cache: What the KV cache holds.
    """

    module: tvm.IRModule
    tensors: tuple[StoredTensor, ...]
    cache: CacheShape


def export(definition: Definition, target: tvm.target.Target) -> Exported:
    """Emits a model's functions.

    Args:
        definition: The model.
        target: What the attention kernels are scheduled for.

    Raises:
        InputError: The model has no paged KV cache.
    """
    latent = definition.latent
    hidden, dtype = latent.hidden_size, latent.dtype
    cache = nn.spec.Object(object_type=PagedKVCache)

    def embed(input_ids: nn.Tensor) -> nn.Tensor:
        return latent.embed(input_ids)

    def get_last_hidden(input_embed: nn.Tensor, paged_kv_cache: Any) -> tuple[nn.Tensor, Any]:
        return latent.get_last_hidden(input_embed, paged_kv_cache), paged_kv_cache

    def lm_head(hidden: nn.Tensor) -> nn.Tensor:
        return latent.lm_head(hidden)

    def create_tir_paged_kv_cache(
        max_batch_size: tirx.Var,
        max_total_seq_len: tirx.Var,
        prefill_chunk_size: tirx.Var,
        page_size: tirx.Var,
        support_sliding_window: tirx.Var,
    ) -> Any:
        return latent.model.create_paged_kv_cache(
            max_batch_size=max_batch_size,
            max_total_seq_len=max_total_seq_len,
            prefill_chunk_size=prefill_chunk_size,
            page_size=page_size,
            support_sliding_window=support_sliding_window,
        )

    specs: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
        "embed": (embed, {"input_ids": nn.spec.Tensor(["seq_len"], "int32")}, "packed"),
        "get_last_hidden": (
            get_last_hidden,
            {"input_embed": nn.spec.Tensor([1, "seq_len", hidden], dtype), "paged_kv_cache": cache},
            "packed",
        ),
        # Traced by itself, since mixtures of experts take another way through their layers for one position.
        _STEP: (
            get_last_hidden,
            {"input_embed": nn.spec.Tensor([1, 1, hidden], dtype), "paged_kv_cache": cache},
            "packed",
        ),
        "lm_head": (lm_head, {"hidden": nn.spec.Tensor(["rows", hidden], dtype)}, "packed"),
        "create_tir_paged_kv_cache": (
            create_tir_paged_kv_cache,
            dict.fromkeys(inspect.signature(create_tir_paged_kv_cache).parameters, int),
            "none",
        ),
    }
    methods = [
        nn.spec.MethodSpec.from_raw({**arguments, "$": {"param_mode": mode, "effect_mode": "none"}}, method)
        for method, arguments, mode in specs.values()
    ]
    build = CacheBuild(definition.corrections.interleaved_rope)
    with target, building(build):
        spec = nn.spec.ModuleSpec(latent.model, list(specs), methods)
        module, parameters, _ = Exporter(debug=False).build(spec)
    if build.made is None:
        raise InputError(f"MLC-LLM's {definition.architecture} has no paged KV cache")
    if definition.corrections.score_cap is not None:
        module = cap_scores(module, definition.corrections.score_cap)
    module[_STEP] = module[_STEP].without_attr("global_symbol")  # Private: latent_step_* and decode call it.
    tensors = tuple(
        StoredTensor(name, tuple(int(size) for size in parameter.shape), str(parameter.dtype))
        for name, parameter in parameters
    )
    return Exported(module, tensors, build.made)


def _bind_vocabulary(model: Any, vocab_size: int, architecture: str) -> None:
    """Gives tables whose number of rows MLC-LLM leaves open (for spare rows) the one that `config.json` says.

    Raises:
        InputError: Another size is open.
    """
    for name, parameter in model.named_parameters():
        open_sizes = [size.name for size in parameter.shape if isinstance(size, tirx.Var)]
        if not open_sizes:
            continue
        if set(open_sizes) != {_VOCABULARY}:
            raise InputError(f"MLC-LLM's {architecture} leaves the size of {name} open: {', '.join(open_sizes)}")
        shape = [vocab_size if isinstance(size, tirx.Var) else size for size in parameter.shape]
        parameter._expr = nn.Tensor.placeholder(shape, parameter.dtype, name)._expr


def _vocab_size(config: Any, raw: Mapping[str, Any]) -> int:
    size = getattr(config, "vocab_size", None) or raw.get("vocab_size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"config.json: vocab_size: a positive integer was expected, got {size!r}")
    return size
