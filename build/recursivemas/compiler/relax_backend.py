"""The backend `relax`: models that `recursivemas.compiler.models` defines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.model_facts import ModelFacts, relax_facts
from recursivemas.compiler.models import FAMILIES, ModelConfig, load_model_config, param_specs
from recursivemas.compiler.models.text_part import left_out_note, text_names
from recursivemas.compiler.weights import WeightsSummary, weights_nbytes, write_weights
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Progress, Say
from recursivemas.system.quantize import Scheme


class RelaxModel:
    """A checkpoint whose model is one of ours."""

    versions: Mapping[str, str] = {}

    def __init__(self, checkpoint: Checkpoint, scheme: Scheme, config: ModelConfig) -> None:
        """Checks the checkpoint's tensors against the model; no weights are read yet.

        Tensors of other parts, such as one for pictures, are left out, and `note` says so.

        Raises:
            InputError: The checkpoint does not fit its configuration.
        """
        self._checkpoint = checkpoint
        self._scheme = scheme
        self._config = config
        names, left_out = text_names(FAMILIES[config.model_type], checkpoint.tensors)
        checkpoint.rename(names)
        self.note = left_out_note(left_out)
        self._specs = param_specs(config)
        checkpoint.check(self._specs)
        self.facts: ModelFacts = relax_facts(config, scheme)

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""
        return weights_nbytes(self._specs, self._scheme)

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""
        return write_weights(self._checkpoint, self._specs, self._scheme, folder, progress)

    def compile_library(self, out: Path, say: Say, subgroup_size: int | None = None, small: bool = False) -> None:
        """Writes the `.wasm`."""
        from recursivemas.compiler.library import SMALLEST, compile_library  # imports TVM, which takes seconds

        optimise = SMALLEST if small else 1
        compile_library(self._config, self._scheme, out, subgroup_size=subgroup_size, optimise=optimise, say=say)


class RelaxBackend:
    """Our own definitions; see `backends.Backend`."""

    def has(self, config: Mapping[str, Any]) -> bool:
        """Whether the model is implemented, so that only the requested sizes can be wrong."""
        try:
            load_model_config(config)
        except InputError:
            return False
        return True

    def stamp_inputs(self) -> Mapping[str, str | None]:
        """Nothing besides this program and TVM."""
        return {}

    def prepare(
        self, checkpoint: Checkpoint, scheme: Scheme, context_window_size: int | None, prefill_chunk_size: int | None
    ) -> RelaxModel:
        """Defines a checkpoint's model."""
        try:
            config = load_model_config(
                checkpoint.config, context_window_size=context_window_size, prefill_chunk_size=prefill_chunk_size
            )
        except InputError as error:
            raise InputError(f"{checkpoint.folder}: {error}") from None
        return RelaxModel(checkpoint, scheme, config)
