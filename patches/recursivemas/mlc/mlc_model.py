"""A checkpoint prepared with MLC-LLM's model definition and weight mapping; everything else is ours.

The counterpart of `recursivemas.compiler.relax_backend.RelaxModel`.
"""

import dataclasses
from pathlib import Path
from typing import Any

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library import SMALLEST, compile_module, library_metadata
from recursivemas.compiler.model_facts import CacheShape, ModelFacts
from recursivemas.compiler.models.hf_config import library_sizes
from recursivemas.compiler.models.text_part import left_out_note
from recursivemas.compiler.pipeline import webgpu_target
from recursivemas.compiler.weights import WeightsSummary
from recursivemas.mlc.checkpoint_mapping import map_checkpoint
from recursivemas.mlc.definition import Definition, define, export_definition
from recursivemas.mlc.importing import Mlc, import_mlc, unusable
from recursivemas.mlc.recurrent import FAMILY_OF, checkpoint_names
from recursivemas.mlc.weights import MlcWeights
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Progress, Say
from recursivemas.system.quantize import Scheme


class MlcModel:
    """A checkpoint whose model MLC-LLM defines."""

    note: str | None = None

    def __init__(self, mlc: Mlc, checkpoint: Checkpoint, scheme: Scheme, context: int | None, chunk: int | None):
        """Defines the model and checks everything that needs no weights.

        Raises:
            InputError: MLC-LLM does not have the model, or the checkpoint does not fit.
        """
        self.versions = {"mlc-llm": mlc.version}
        target = webgpu_target()
        definition = define(mlc, checkpoint.config, scheme, target)
        sizes = library_sizes(definition.architecture, definition.longest_context, context, chunk)
        self._exported, cache = export_definition(definition, target)
        self._scheme = scheme
        self._tensors = self._exported.tensors
        if definition.architecture in FAMILY_OF:
            names, left_out = checkpoint_names(definition.architecture, checkpoint.tensors)
            checkpoint.rename(names)
            self.note = left_out_note(left_out)
        mapping = map_checkpoint(definition, self._tensors, checkpoint)
        self._weights = MlcWeights(definition, self._tensors, mapping, checkpoint, scheme)
        self.facts = model_facts(definition, cache, scheme, *sizes)

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""
        return sum(tensor.nbytes for tensor in self._tensors)

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""
        return self._weights.write(folder, progress)

    def compile_library(self, out: Path, say: Say, subgroup_size: int | None = None, small: bool = False) -> None:
        """Writes the `.wasm`."""
        metadata = library_metadata(self.facts, self._tensors, self._scheme)
        optimise = SMALLEST if small else 1
        compile_module(self._exported.module, metadata, out, subgroup_size=subgroup_size, optimise=optimise, say=say)


def prepare(
    checkpoint: Checkpoint, scheme: Scheme, context_window_size: int | None, prefill_chunk_size: int | None
) -> MlcModel:
    """Defines a checkpoint's model with MLC-LLM.

    Args:
        checkpoint: The opened checkpoint.
        scheme: How to store its weights.
        context_window_size: Longest context, in tokens; see `library_sizes`.
        prefill_chunk_size: Longest input of one call, in tokens; see `library_sizes`.

    Raises:
        InputError: There is no usable MLC-LLM, it does not have the model, or the checkpoint does not fit.
    """
    folder = str(checkpoint.folder)
    try:
        mlc = import_mlc()
        try:
            return MlcModel(mlc, checkpoint, scheme, context_window_size, prefill_chunk_size)
        except (InputError, OSError, MemoryError):
            raise
        except Exception as error:  # An unknown version may raise anything when it makes a model.
            raise unusable(mlc.root, "define this model", error) from error
    except InputError as error:
        raise (error if folder in str(error) else InputError(f"{folder}: {error}")) from error.__cause__


def model_facts(definition: Definition, cache: CacheShape, scheme: Scheme, context: int, chunk: int) -> ModelFacts:
    """The model's dimensions."""
    state = definition.latent.state
    return ModelFacts(
        backend="mlc",
        architecture=definition.architecture,
        hidden_size=definition.latent.hidden_size,
        vocab_size=definition.vocab_size,
        context_window_size=context,
        prefill_chunk_size=chunk,
        kv_cache=cache,
        kv_cache_bytes=cache.nbytes(context, scheme),
        recurrent_state_bytes=0 if state is None else state.nbytes,
        linear_layers=0 if state is None else state.layers,
        model_config=_plain(definition.config),
    )


def _plain(config: Any) -> dict[str, Any]:
    """A configuration object as JSON values, without the keys that MLC-LLM did not recognise."""
    fields = dataclasses.asdict(config)
    fields.pop("kwargs", None)
    return fields
