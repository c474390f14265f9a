import pytest
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor

from recursivemas.mlc.anatomy import dissect, is_norm
from recursivemas.system.errors import InputError

from .fakes import HIDDEN, BareBody, Body, Language, Layer, NormedHead, Outer


def test_dissect_finds_body_and_layers_by_how_they_are_called() -> None:
    anatomy = dissect(Language(Body(1.0)))
    assert (anatomy.body.path, anatomy.layers.path, anatomy.head_norm) == ("model", "model.layers", None)


def test_dissect_finds_a_language_model_inside() -> None:
    anatomy = dissect(Outer(Language(Body(1.0))))
    assert (anatomy.body.path, anatomy.layers.path) == ("language_model.model", "language_model.model.layers")


def test_dissect_finds_the_last_norm_in_the_head() -> None:
    anatomy = dissect(Language(BareBody(), NormedHead()))
    assert anatomy.layers.path == "model.h"
    assert anatomy.head_norm is not None and anatomy.head_norm.path == "lm_head.ln"


def test_dissect_takes_layers_whose_arguments_have_other_names() -> None:
    class Older(Layer):
        def forward(self, hidden_states: Tensor, attention_mask: Tensor, total_seq_len: int) -> Tensor:
            return hidden_states

    body = Body(1.0)
    body.layers = nn.ModuleList([Older(), Older()])
    assert dissect(Language(body)).layers.path == "model.layers"


def test_dissect_refuses_a_model_without_a_last_norm() -> None:
    with pytest.raises(InputError, match="one last normalisation in model or in the head, found 0"):
        dissect(Language(BareBody()))


def test_dissect_refuses_a_model_without_a_cache() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x

    with pytest.raises(InputError, match="no part that takes hidden states and a paged KV cache"):
        dissect(Language(Plain()))


def test_dissect_names_missing_methods() -> None:
    class Encoder(nn.Module):
        def prefill(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(InputError, match="Encoder has no embed, decode"):
        dissect(Encoder())


def test_is_norm_takes_classes_named_after_it() -> None:
    class CohereNorm(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter((HIDDEN,))

    assert is_norm(CohereNorm()) and is_norm(nn.LayerNorm(HIDDEN)) and not is_norm(nn.Linear(HIDDEN, HIDDEN))
