"""The backend `mlc` (see `recursivemas.compiler.backends.Backend`), an entry point of `pyproject.toml`.

Importing this module imports neither TVM nor MLC-LLM.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import recursivemas.mlc
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.stamp import sources_digest
from recursivemas.mlc.tree import describe, find_mlc
from recursivemas.system.quantize import Scheme

if TYPE_CHECKING:
    from recursivemas.mlc.mlc_model import MlcModel


class MlcBackend:
    """MLC-LLM's definitions with our additions."""

    def has(self, config: Mapping[str, Any]) -> bool:
        """Whether there is an MLC-LLM; `prepare` says which models it has."""
        return find_mlc() is not None

    def stamp_inputs(self) -> Mapping[str, str | None]:
        """MLC-LLM's version and the digest of this package."""
        root = find_mlc()
        return {
            "patches": sources_digest(recursivemas.mlc),
            "mlc-llm": None if root is None else describe(root),
        }

    def prepare(
        self, checkpoint: Checkpoint, scheme: Scheme, context_window_size: int | None, prefill_chunk_size: int | None
    ) -> "MlcModel":
        """Defines a checkpoint's model; see `mlc_model.prepare`."""
        from recursivemas.mlc.mlc_model import prepare  # imports TVM, which takes seconds

        return prepare(checkpoint, scheme, context_window_size, prefill_chunk_size)


BACKEND = MlcBackend()
