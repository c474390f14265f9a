"""`--backend mlc`: MLC-LLM's model definition and weight mapping, our functions, quantizer, pipeline and runtime.

The counterpart of `recursivemas.compiler.backends.RelaxModel`, which imports this module when it is asked for.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recursivemas.compiler.backends import ModelFacts, kv_cache_bytes
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library import compile_module
from recursivemas.compiler.models.hf_config import DEFAULT_CONTEXT, DEFAULT_PREFILL_CHUNK
from recursivemas.compiler.pipeline import webgpu_target
from recursivemas.compiler.quantize import Scheme
from recursivemas.compiler.weights import Progress, WeightsSummary
from recursivemas.mlc.compat.kv_cache import CacheShape
from recursivemas.mlc.definition import Definition, Exported, define, export
from recursivemas.mlc.source import Mlc, import_mlc, unusable
from recursivemas.mlc.sources import find_sources
from recursivemas.mlc.weights import MlcWeights
from recursivemas.system.errors import InputError


class MlcModel:
    """A checkpoint whose model MLC-LLM defines."""

    def __init__(self, mlc: Mlc, checkpoint: Checkpoint, scheme: Scheme, context: int | None, chunk: int | None):
        """Defines the model and checks everything that needs no weights.

        Raises:
            InputError: MLC-LLM does not have the model, or the checkpoint does not fit.
        """
        self.versions = {"mlc-llm": mlc.version}
        self._target = webgpu_target()
        self._definition = define(mlc, checkpoint.config, scheme, self._target)
        self._scheme = scheme
        sizes = model_sizes(self._definition, context, chunk)
        self._exported = export(self._definition, self._target)
        self._tensors = self._exported.tensors
        sources = find_sources(self._definition, self._tensors, checkpoint)
        self._weights = MlcWeights(self._definition, self._tensors, sources, checkpoint, scheme)
        self.facts = model_facts(self._definition, self._exported.cache, scheme, *sizes)

    def weights_nbytes(self) -> int:
        """Bytes that `write_weights` will write."""
        return sum(tensor.nbytes for tensor in self._tensors)

    def write_weights(self, folder: Path, progress: Progress) -> WeightsSummary:
        """Converts the weights into `folder`."""
        return self._weights.write(folder, progress)

    def compile_library(self, out: Path, progress: Callable[[str], None]) -> None:
        """Writes the `.wasm`."""
        compile_module(self._exported.module, self.metadata(), out, progress=progress)

    def metadata(self) -> dict[str, Any]:
        """MLC's keys of `_metadata`."""
        return library_metadata(self.facts, self._exported, self._scheme)


def library_metadata(facts: ModelFacts, exported: Exported, scheme: Scheme) -> dict[str, Any]:
    """MLC's keys of `_metadata`."""
    cache = exported.cache
    return {
        "model_type": facts.architecture,
        "quantization": scheme.name,
        "context_window_size": facts.context_window_size,
        "sliding_window_size": -1,
        "attention_sink_size": -1,
        "prefill_chunk_size": facts.prefill_chunk_size,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "kv_state_kind": "kv_cache",
        "max_batch_size": 1,
        "params": [
            {"name": each.name, "shape": list(each.shape), "dtype": each.dtype, "preprocs": []}
            for each in exported.tensors
        ],
        "kv_cache": {
            "num_hidden_layers": cache.num_hidden_layers,
            "num_attention_heads": cache.num_attention_heads,
            "num_key_value_heads": cache.num_key_value_heads,
            "head_dim": cache.qk_head_dim,
        },
    }


def prepare(
    checkpoint: Checkpoint,
    scheme: Scheme,
    *,
    context_window_size: int | None = None,
    prefill_chunk_size: int | None = None,
) -> MlcModel:
    """Defines a checkpoint's model with MLC-LLM.

    Args:
        checkpoint: The opened checkpoint.
        scheme: How to store its weights.
        context_window_size: Most positions of a turn; by default the model's, at most `DEFAULT_CONTEXT`.
        prefill_chunk_size: Positions per prefill call; by default the context, at most `DEFAULT_PREFILL_CHUNK`.

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
        except Exception as error:  # Whatever a version we do not know does when a model is made.
            raise unusable(mlc.root, "define this model", error) from error
    except InputError as error:
        raise (error if folder in str(error) else InputError(f"{folder}: {error}")) from error.__cause__


def model_sizes(definition: Definition, context: int | None, chunk: int | None) -> tuple[int, int]:
    """The context window and the prefill chunk, in tokens; see `prepare`.

    Raises:
        InputError: Either is more than the model has.
    """
    longest = definition.longest_context
    name = definition.architecture
    context = context or min(longest, DEFAULT_CONTEXT)
    if not 1 <= context <= longest:
        raise InputError(f"config.json ({name}): a context window of 1 to {longest} tokens was expected, got {context}")
    chunk = chunk or min(context, DEFAULT_PREFILL_CHUNK)
    if not 1 <= chunk <= context:
        raise InputError(f"config.json ({name}): a prefill chunk of 1 to {context} tokens was expected, got {chunk}")
    return context, chunk


def model_facts(definition: Definition, cache: CacheShape, scheme: Scheme, context: int, chunk: int) -> ModelFacts:
    """The model's dimensions."""
    values = cache.num_hidden_layers * cache.num_key_value_heads * (cache.qk_head_dim + cache.v_head_dim)
    return ModelFacts(
        backend="mlc",
        architecture=definition.architecture,
        hidden_size=definition.latent.hidden_size,
        num_hidden_layers=cache.num_hidden_layers,
        vocab_size=definition.vocab_size,
        context_window_size=context,
        prefill_chunk_size=chunk,
        kv_cache_bytes=kv_cache_bytes(values, context, scheme),
        model_config=_plain(definition.config),
    )


def _plain(config: Any) -> dict[str, Any]:
    """A configuration object as JSON values; what MLC-LLM did not recognise is left out."""
    fields = dataclasses.asdict(config)
    fields.pop("kwargs", None)
    return fields
