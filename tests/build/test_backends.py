"""Which backend defines a model, and the errors when none does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.random_checkpoint import write_random_checkpoint
from recursivemas.compiler import backends
from recursivemas.compiler.backends import installed_backends, prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.relax_backend import RelaxBackend
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import Scheme, find_scheme

CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 259,
    "max_position_embeddings": 100,
    "tie_word_embeddings": False,
}
SCHEME = find_scheme("q0f16")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    write_random_checkpoint(tmp_path, CONFIG)
    return Checkpoint(tmp_path)


class FakeMlc:
    """A backend that has every model and records how it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def has(self, config: Mapping[str, Any]) -> bool:
        return True

    def prepare(self, checkpoint: Checkpoint, scheme: Scheme, context: int | None, chunk: int | None) -> Any:
        self.asked.append({"context_window_size": context, "prefill_chunk_size": chunk})
        return "mlc's model"


@pytest.fixture
def fake_mlc(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Installs a fake backend `mlc`; returns how it is asked."""
    mlc: Any = FakeMlc()
    monkeypatch.setattr(backends, "installed_backends", lambda: {"relax": RelaxBackend(), "mlc": mlc})
    asked: list[dict[str, Any]] = mlc.asked
    return asked


@pytest.fixture
def no_mlc(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without other backends."""
    monkeypatch.setattr(backends, "entry_points", lambda *, group: ())


def test_installed_backends_are_relax_and_mlc() -> None:
    assert list(installed_backends()) == ["relax", "mlc"]


def test_prepare_relax_knows_the_models_dimensions(checkpoint: Checkpoint) -> None:
    facts = prepare(checkpoint, SCHEME, prefill_chunk_size=20).facts
    assert (facts.backend, facts.architecture, facts.hidden_size, facts.num_hidden_layers) == ("relax", "qwen3", 32, 3)
    assert (facts.context_window_size, facts.prefill_chunk_size, facts.vocab_size) == (100, 20, 259)
    # 100 positions are 7 pages of 16, and the runtime keeps one more: keys and values of 1 head of 8, 3 layers.
    assert facts.kv_cache_bytes == 2 * 3 * 8 * (7 + 1) * 16 * 2


def test_prepare_auto_takes_ours_where_both_could(checkpoint: Checkpoint, fake_mlc: list[dict[str, Any]]) -> None:
    assert prepare(checkpoint, SCHEME).facts.backend == "relax"
    assert fake_mlc == []


def test_prepare_auto_takes_mlc_for_what_ours_lacks(checkpoint: Checkpoint, fake_mlc: list[dict[str, Any]]) -> None:
    checkpoint.config["model_type"] = "gemma2"
    assert prepare(checkpoint, SCHEME, context_window_size=64) == "mlc's model"
    assert fake_mlc == [{"context_window_size": 64, "prefill_chunk_size": None}]


def test_prepare_auto_keeps_ours_when_only_a_size_is_wrong(
    checkpoint: Checkpoint, fake_mlc: list[dict[str, Any]]
) -> None:
    with pytest.raises(InputError, match="a context window of 1 to 100 tokens was expected, got 101"):
        prepare(checkpoint, SCHEME, context_window_size=101)
    assert fake_mlc == []


def test_prepare_auto_without_mlc_lists_what_ours_has(checkpoint: Checkpoint, no_mlc: None) -> None:
    checkpoint.config["model_type"] = "gemma2"
    with pytest.raises(InputError, match=r"'gemma2' is not implemented; supported: qwen2 "):
        prepare(checkpoint, SCHEME)


def test_prepare_mlc_says_when_it_is_not_installed(checkpoint: Checkpoint, no_mlc: None) -> None:
    with pytest.raises(InputError, match="'mlc' is not part of this installation; use --backend relax"):
        prepare(checkpoint, SCHEME, "mlc")
