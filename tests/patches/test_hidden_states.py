from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax

from recursivemas.architectures.cpu_model import cpu_target
from recursivemas.mlc import definition as definition_module
from recursivemas.mlc.compat.kv_cache import CacheBuild
from recursivemas.mlc.corrections import Corrections
from recursivemas.mlc.definition import Definition, _bind_vocabulary, export_definition
from recursivemas.mlc.hidden_states import expose

from .fakes import HIDDEN, VOCABULARY, BareBody, Body, Language, NormedHead, Outer


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the kernels of a cache, which take seconds to build, because the fakes' layers do not attend."""
    monkeypatch.setattr(definition_module, "CacheBuild", lambda *_, **__: CacheBuild(placeholder=True))


class Model:
    """A fake on the CPU."""

    def __init__(self, module: tvm.IRModule, weights: list[NDArray[np.float32]]) -> None:
        self._vm = relax.VirtualMachine(relax.build(module, cpu_target()), tvm.cpu())
        self._params = [tvm.runtime.tensor(each) for each in weights]

    def embed(self, input_ids: NDArray[np.int32]) -> NDArray[Any]:
        return self._vm["embed"](tvm.runtime.tensor(input_ids), self._params).numpy()

    def get_last_hidden(self, input_embed: NDArray[Any]) -> NDArray[Any]:
        cache = tvm.runtime.ShapeTuple([0])  # passed through
        return self._vm["get_last_hidden"](tvm.runtime.tensor(input_embed), cache, self._params)[0].numpy()

    def lm_head(self, hidden: NDArray[Any]) -> NDArray[Any]:
        return self._vm["lm_head"](tvm.runtime.tensor(hidden), self._params).numpy()


def _definition(model: Any, corrections: Corrections = Corrections()) -> Definition:  # noqa: B008
    _bind_vocabulary(model, VOCABULARY, "fake")
    return Definition(
        architecture="fake",
        config=None,
        latent=expose(model, "float32", corrections),
        quantize_map=None,
        extern_map=None,
        vocab_size=VOCABULARY,
        longest_context=64,
        corrections=corrections,
    )


def _run(definition: Definition) -> tuple[Model, dict[str, NDArray[np.float32]]]:
    exported, _ = export_definition(definition, cpu_target())
    rng = np.random.default_rng(0)
    weights = {each.name: rng.standard_normal(each.shape).astype(np.float32) for each in exported.tensors}
    return Model(exported.module, list(weights.values())), weights


def _layers(x: NDArray[Any], weights: dict[str, NDArray[np.float32]], stem: str) -> NDArray[Any]:
    for layer in range(2):
        x = x + x @ weights[f"{stem}.{layer}.proj.weight"].T
    return x


def _rms(x: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight


@pytest.mark.parametrize("wrap", [lambda model: model, Outer])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_get_last_hidden_reads_input_embeddings_after_the_models_scale(wrap: Any, scale: float) -> None:
    definition = _definition(wrap(Language(Body(scale))))
    assert definition.latent.embed_scale == scale
    model, weights = _run(definition)
    stem = "language_model.model" if wrap is Outer else "model"
    table = weights[f"{stem}.embed_tokens.weight"]
    embeddings = model.embed(np.array([3, 7, 0], np.int32))
    np.testing.assert_allclose(embeddings, table[[3, 7, 0]] * scale, rtol=1e-6)
    expected = _rms(_layers(embeddings, weights, f"{stem}.layers"), weights[f"{stem}.norm.weight"])
    np.testing.assert_allclose(model.get_last_hidden(embeddings[None])[0], expected, rtol=1e-4, atol=1e-5)


def test_lm_head_is_what_the_model_does_after_its_body() -> None:
    model, weights = _run(_definition(Language(Body(2.0), cap=5.0)))
    hidden = np.random.default_rng(1).standard_normal((4, HIDDEN)).astype(np.float32) * 4
    expected = np.tanh(hidden @ weights["lm_head.weight"].T / 5.0) * 5.0
    np.testing.assert_allclose(model.lm_head(hidden), expected, rtol=1e-4, atol=1e-5)


def test_lm_head_is_scaled_where_the_definition_forgets_to() -> None:
    model, weights = _run(_definition(Language(Body(1.0)), Corrections(logit_scale=0.25)))
    hidden = np.random.default_rng(1).standard_normal((2, HIDDEN)).astype(np.float32)
    np.testing.assert_allclose(model.lm_head(hidden), hidden @ weights["lm_head.weight"].T / 4, rtol=1e-4, atol=1e-5)


def test_a_norm_in_the_head_belongs_to_the_hidden_states() -> None:
    model, weights = _run(_definition(Language(BareBody(), NormedHead())))
    embeddings = np.random.default_rng(1).standard_normal((3, HIDDEN)).astype(np.float32)
    x = _layers(embeddings, weights, "model.h")
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    expected = normed * weights["lm_head.ln.weight"] + weights["lm_head.ln.bias"]
    hidden = model.get_last_hidden(embeddings[None])[0]
    np.testing.assert_allclose(hidden, expected, rtol=1e-3, atol=1e-4)
    logits = hidden @ weights["lm_head.linear.weight"].T + weights["lm_head.linear.bias"]
    np.testing.assert_allclose(model.lm_head(hidden), logits, rtol=1e-4, atol=1e-4)


def test_expose_leaves_the_model_as_it_was() -> None:
    model = Language(Body(3.0))
    body, layers = model.model, list(model.model.layers)
    definition = _definition(model)
    export_definition(definition, cpu_target())
    assert model.model is body
    assert list(model.model.layers) == layers
