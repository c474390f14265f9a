"""Who defines a checkpoint's model: our own definitions (`relax`), or another package's (`mlc`: MLC-LLM's).

Other backends register in `pyproject.toml` under the entry points `recursivemas.backends`, so the compiler imports none
of the packages that build on it. Importing a backend must not import TVM, which takes seconds; `prepare` may.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.model_facts import ModelFacts
from recursivemas.compiler.relax_backend import RelaxBackend
from recursivemas.compiler.weights import WeightsSummary
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Progress, Say
from recursivemas.system.quantize import Scheme

BACKENDS = ("auto", "relax", "mlc")

_ENTRY_POINTS = "recursivemas.backends"


class PreparedModel(Protocol):
    """A checkpoint whose model is defined and which has passed every check that needs no weights."""

    @property
    def facts(self) -> ModelFacts:
        """The model's dimensions."""

    @property
    def note(self) -> str | None:
        """One line about what of the checkpoint is left out; None if nothing is."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of what defines the model, besides this program and TVM."""

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""

    def compile_library(self, out: Path, say: Say, subgroup_size: int | None = None, small: bool = False) -> None:
        """Writes the `.wasm`.

        Args:
            out: Where.
            say: Called with one line before each step.
            subgroup_size: Least size of the subgroups that its kernels use; None for a library that every browser runs.
            small: Whether it is linked for its size; see `CompileOptions.small_libraries`.
        """


class Backend(Protocol):
    """A source of model definitions."""

    def has(self, config: Mapping[str, Any]) -> bool:
        """Whether `auto` may choose it for the model of a `config.json`."""

    def stamp_inputs(self) -> Mapping[str, str | None]:
        """What decides how its agents come out, besides this program and TVM; for `stamp.stamp_of`."""

    def prepare(
        self, checkpoint: Checkpoint, scheme: Scheme, context_window_size: int | None, prefill_chunk_size: int | None
    ) -> PreparedModel:
        """Defines a checkpoint's model; see `backends.prepare`."""


def installed_backends() -> dict[str, Backend]:
    """The backends of this installation by name, in the order in which `auto` tries them."""
    return {"relax": RelaxBackend(), **{entry.name: entry.load() for entry in entry_points(group=_ENTRY_POINTS)}}


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
        backend: One of `BACKENDS`; see `chosen_backend`.
        context_window_size: Longest context, in tokens; the backend's default when absent.
        prefill_chunk_size: Longest input of one call, in tokens; the backend's default when absent.

    Raises:
        InputError: The backend does not have this model, or the checkpoint does not fit its configuration.
    """
    chosen = installed_backends().get(chosen_backend(checkpoint.config, backend))
    if chosen is None:
        raise InputError(f"backend {backend!r} is not part of this installation; use --backend relax")
    return chosen.prepare(checkpoint, scheme, context_window_size, prefill_chunk_size)


def chosen_backend(config: Mapping[str, Any], backend: str = "auto") -> str:
    """Names the backend that defines the model of a `config.json`.

    Args:
        config: Parsed.
        backend: One of `BACKENDS`; `auto` is `relax` if it has the model, else MLC-LLM if there is one.

    Raises:
        InputError: The name is none of them, or the MLC-LLM that was named does not exist.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend != "auto":
        return backend
    # When no backend has the model, `relax` says which ones it implements.
    return next((name for name, each in installed_backends().items() if each.has(config)), "relax")
