"""Where a model's definition comes from: our own in Relax (`relax`), or MLC-LLM's with our additions (`mlc`).

`recursivemas.mlc.backend` is the second one. It is imported when it is asked for, because it needs MLC-LLM; it has
the same `prepare` as `_prepare_relax` here.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.models import ModelConfig, load_model_config, param_specs
from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.weights import Progress, WeightsSummary, weights_nbytes, write_weights
from recursivemas.system.errors import InputError

BACKENDS = ("auto", "relax", "mlc")

KV_PAGE_POSITIONS = 16
"""Of a page of the KV cache, as pages ask for it; the runtime keeps one page more than the context fills."""

_MLC_BACKEND = "recursivemas.mlc.backend"


@dataclass(frozen=True)
class ModelFacts:
    """A model's dimensions, whichever backend defines it.

    Attributes:
        backend: `relax` or `mlc`.
        architecture: MLC's name of the model type, e.g. `qwen2`.
        hidden_size: D.
        num_hidden_layers: Layers.
        vocab_size: Rows of the embedding table.
        context_window_size: Most positions of the KV cache.
        prefill_chunk_size: Most positions of one call.
        kv_cache_bytes: Of all layers' keys and values at the full context, in whole pages.
        model_config: MLC's `model_config`.
    """

    backend: str
    architecture: str
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    context_window_size: int
    prefill_chunk_size: int
    kv_cache_bytes: int
    model_config: Mapping[str, Any]


class PreparedModel(Protocol):
    """A checkpoint whose model is defined, with everything checked that needs no weights."""

    @property
    def facts(self) -> ModelFacts:
        """The model's dimensions."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of what defines the model, besides this program and TVM."""

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""

    def compile_library(self, out: Path, progress: Callable[[str], None]) -> None:
        """Writes the `.wasm`."""


class RelaxModel:
    """A model of `recursivemas.compiler.models`."""

    def __init__(self, checkpoint: Checkpoint, scheme: Scheme, config: ModelConfig) -> None:
        self._checkpoint = checkpoint
        self._scheme = scheme
        self._config = config
        self._specs = param_specs(config)
        checkpoint.check(self._specs)
        values = 2 * config.num_hidden_layers * config.kv_size
        self.versions: Mapping[str, str] = {}
        self.facts = ModelFacts(
            backend="relax",
            architecture=config.model_type,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            vocab_size=config.vocab_size,
            context_window_size=config.context_window_size,
            prefill_chunk_size=config.prefill_chunk_size,
            kv_cache_bytes=kv_cache_bytes(values, config.context_window_size, scheme),
            model_config=dataclasses.asdict(config),
        )

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""
        return weights_nbytes(self._specs, self._scheme)

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""
        return write_weights(self._checkpoint, self._specs, self._scheme, folder, progress)

    def compile_library(self, out: Path, progress: Callable[[str], None]) -> None:
        """Writes the `.wasm`."""
        from recursivemas.compiler.library import compile_library  # TVM takes a second to import

        compile_library(self._config, self._scheme, out, progress=progress)


def kv_cache_bytes(values: int, context_window_size: int, scheme: Scheme) -> int:
    """Bytes of a KV cache in whole pages.

    Args:
        values: Numbers kept for a position: keys and values of all layers.
        context_window_size: Most positions of a turn.
        scheme: Says their dtype.
    """
    pages = -(-context_window_size // KV_PAGE_POSITIONS) + 1
    return values * pages * KV_PAGE_POSITIONS * scheme.numpy_dtype.itemsize


def prepare(
    checkpoint: Checkpoint,
    scheme: Scheme,
    backend: str = "auto",
    *,
    context_window_size: int | None = None,
    prefill_chunk_size: int | None = None,
) -> PreparedModel:
    """Defines a checkpoint's model.

    Args:
        checkpoint: The opened checkpoint.
        scheme: How to store its weights.
        backend: One of `BACKENDS`; `auto` is ours where it has the architecture, else MLC-LLM's if there is one.
        context_window_size: Most positions of a turn; the backend's default when absent.
        prefill_chunk_size: Positions per prefill call; the backend's default when absent.

    Raises:
        InputError: The backend does not have this model, or the checkpoint does not fit its configuration.
    """
    sizes = {"context_window_size": context_window_size, "prefill_chunk_size": prefill_chunk_size}
    if chosen_backend(checkpoint.config, backend) == "mlc":
        return _prepare_mlc(checkpoint, scheme, sizes)
    try:
        config = load_model_config(checkpoint.config, **sizes)
    except InputError as error:
        raise InputError(f"{checkpoint.folder}: {error}") from None
    return RelaxModel(checkpoint, scheme, config)


def chosen_backend(config: Mapping[str, Any], backend: str = "auto") -> str:
    """`relax` or `mlc`: who defines the model of a `config.json`.

    Args:
        config: Parsed.
        backend: One of `BACKENDS`.

    Raises:
        InputError: It is none of them, or the MLC-LLM that was named is not there.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend == "auto":
        return "mlc" if not _is_ours(config) and _mlc_is_there() else "relax"
    return backend


def _prepare_mlc(checkpoint: Checkpoint, scheme: Scheme, sizes: Mapping[str, int | None]) -> PreparedModel:
    try:
        module = importlib.import_module(_MLC_BACKEND)
    except ModuleNotFoundError as error:
        if error.name != _MLC_BACKEND:
            raise
        raise InputError("backend 'mlc' is not part of this installation; use --backend relax") from None
    model: PreparedModel = module.prepare(checkpoint, scheme, **sizes)
    return model


def _is_ours(config: Mapping[str, Any]) -> bool:
    """Whether ours has the model, so that only the sizes asked for can be wrong."""
    try:
        load_model_config(config)
    except InputError:
        return False
    return True


def _mlc_is_there() -> bool:
    try:
        source = importlib.import_module("recursivemas.mlc.source")
    except ModuleNotFoundError:
        return False
    return source.find_mlc() is not None
