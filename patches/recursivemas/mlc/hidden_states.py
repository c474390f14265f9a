"""Exposes the hidden states of any causal language model of MLC-LLM: hidden states out, hidden states in, logit lens.

`embed` returns, and `input_embed` takes, what the first decoder layer reads, like `inputs_embeds` in transformers 5.
MLC-LLM's Gemma models multiply their input by sqrt(hidden size) inside the body. Here `embed` multiplies and the body's
own multiplication is skipped, so that a latent thought is never scaled.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.exporter import Exporter
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from recursivemas.mlc.anatomy import Anatomy, Part, dissect
from recursivemas.mlc.compat.intercept import seeing
from recursivemas.mlc.corrections import Corrections
from recursivemas.mlc.local_rope import LocalRopeCache
from recursivemas.mlc.recurrent import PassedState, StateShape, state_shape
from recursivemas.system.errors import InputError


class _Stand:
    """Replaces a module while a function is traced: a call goes elsewhere, attributes are the module's."""

    def __init__(self, module: Any, call: Callable[..., Any]) -> None:
        self._module = module
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    forward = __call__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def _replaced(part: Part, stand: Any) -> Iterator[None]:
    original = part.module
    setattr(part.owner, part.name, stand)
    try:
        yield
    finally:
        setattr(part.owner, part.name, original)


@dataclass(frozen=True)
class LatentModel:
    """A model of MLC-LLM with its hidden states exposed. Its methods are traced inside a block builder.

    Attributes:
        model: The model, quantized or not.
        anatomy: Its parts.
        embed_scale: The factor that its body multiplies input embeddings by, else 1.0.
        hidden_size: D.
        dtype: The model dtype.
        corrections: For differences from the checkpoint's own code.
        state: What its recurrent layers keep; None if it has none.
    """

    model: Any
    anatomy: Anatomy
    embed_scale: float
    hidden_size: int
    dtype: str
    corrections: Corrections
    state: StateShape | None = None

    def embed(self, input_ids: Tensor) -> Tensor:
        """(T,) int32 to (T, D)."""
        embeddings = self.model.embed(input_ids)
        return embeddings if self.embed_scale == 1.0 else embeddings * self.embed_scale

    def get_last_hidden(self, input_embed: Tensor, paged_kv_cache: Any, *recurrent_state: list[Tensor]) -> Any:
        """(1, T, D) input embeddings to (1, T, D) hidden states after the last normalisation.

        With a recurrent state, the overwritten tensors follow, so that nothing drops the writing.
        """
        if self.state is not None:
            passed = PassedState(recurrent_state[0], len(self.state.states))
            hidden, _ = self.anatomy.body.module.forward(input_embed, paged_kv_cache, passed)
            return hidden, *passed.tensors
        local = self.corrections.local_rope
        cache = paged_kv_cache if local is None else LocalRopeCache(paged_kv_cache, self.model, local)
        with self._activation():
            hidden = self._body(input_embed, cache)
        norm = self.anatomy.head_norm
        return hidden if norm is None else norm.module(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """(M, D) hidden states after the last normalisation to (M, V) float32.

        Runs the model's own `decode` with the body replaced by `hidden`, so soft-capping, logit scales and whatever
        else lies between hidden states and logits are the model's own.
        """
        rows = hidden.reshape(1, *hidden.shape)
        with self._given_hidden(rows):
            if self.state is None:
                logits, _ = self.model.decode(rows, None)
            else:
                logits, *_ = self.model.batch_decode(rows, None, None)
        logits = logits.reshape(logits.shape[1], logits.shape[2])
        return logits if self.corrections.logit_scale == 1.0 else logits * self.corrections.logit_scale

    def create_paged_kv_cache(self, **sizes: tirx.Var) -> PagedKVCache:
        """An empty cache; `compat.kv_cache` builds it."""
        return self.model.create_paged_kv_cache(**sizes)

    @contextmanager
    def _given_hidden(self, hidden: Tensor) -> Iterator[None]:
        given = hidden if self.state is None else (hidden, None)
        with _replaced(self.anatomy.body, _Stand(self.anatomy.body.module, lambda *_: given)):
            norm = self.anatomy.head_norm
            if norm is None:
                yield
            else:
                with _replaced(norm, _Stand(norm.module, lambda x: x)):
                    yield

    @contextmanager
    def _activation(self) -> Iterator[None]:
        if not self.corrections.tanh_gelu:
            yield
            return
        defining = sys.modules[type(self.model).__module__]
        with seeing(defining, "op", gelu=lambda x: nn.op.gelu(x, approximate="tanh")):
            yield

    def _body(self, input_embed: Tensor, paged_kv_cache: Any) -> Tensor:
        body, layers = self.anatomy.body, self.anatomy.layers
        if self.embed_scale == 1.0:
            return body.module(input_embed, paged_kv_cache)
        first, *others = list(layers.module)
        with _replaced(layers, [_Stand(first, lambda _, *rest: first(input_embed, *rest)), *others]):
            return body.module(input_embed, paged_kv_cache)


def expose(model: Any, dtype: str, corrections: Corrections) -> LatentModel:
    """Wraps a model, after finding its parts and the factor on its input embeddings.

    Args:
        model: An instance of one of MLC-LLM's causal language models, quantized or not.
        dtype: The model dtype.
        corrections: For differences from the checkpoint's own code.

    Raises:
        InputError: The structure of the model is unknown.
    """
    anatomy = dissect(model)
    hidden_size = _hidden_size(model)
    state = state_shape(model)
    scale = 1.0 if state is not None else _embed_scale(model, anatomy, hidden_size, dtype)
    return LatentModel(model, anatomy, scale, hidden_size, dtype, corrections, state)


def _hidden_size(model: Any) -> int:
    spec = model.get_default_spec()
    for name, method in zip(spec.method_names, spec.method_specs, strict=True):
        if name in ("decode", "batch_decode"):  # Its first argument is (1, 1, D), whatever its name.
            return int(method.arg_specs[0].shape[-1])
    raise InputError(f"{type(model).__name__} does not compile decode")


def _embed_scale(model: Any, anatomy: Anatomy, hidden_size: int, dtype: str) -> float:
    """Finds the factor that the body multiplies its input by before the first layer.

    Traces the body with its layers replaced by one that inspects its input. Position embeddings, which GPT-2 adds
    there, do not count as a factor.
    """
    scales: list[float] = []

    def probe(input_embed: Tensor, paged_kv_cache: Any) -> Tensor:
        def first_layer(hidden: Tensor, *_: Any) -> Tensor:
            scales.append(_scale_between(input_embed._expr, hidden._expr))
            return hidden

        with _replaced(anatomy.layers, [_Stand(anatomy.layers.module[0], first_layer)]):
            return anatomy.body.module(input_embed, paged_kv_cache)

    arguments = {
        "input_embed": nn.spec.Tensor([1, 1, hidden_size], dtype),
        "paged_kv_cache": nn.spec.Object(object_type=PagedKVCache),
        "$": {"param_mode": "packed", "effect_mode": "none"},
    }
    spec = nn.spec.ModuleSpec(model, ["probe"], [nn.spec.MethodSpec.from_raw(arguments, probe)])
    Exporter(debug=False).build(spec)
    return scales[0]


def _scale_between(given: Any, used: Any) -> float:
    """The constant c if `used` is `given` * c, casts aside; otherwise 1.0."""
    scale = 1.0
    builder = relax.BlockBuilder.current()
    while not used.same_as(given):
        call = builder.lookup_binding(used) if isinstance(used, relax.Var) else used
        name = getattr(getattr(call, "op", None), "name", None)
        if name == "relax.multiply" and isinstance(call.args[1], tvm.ir.GenericConst):
            scale *= float(call.args[1].value.numpy())
        elif name != "relax.astype":
            return 1.0
        used = call.args[0]
    return scale
