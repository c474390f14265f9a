"""Writes a checkpoint's weights with MLC-LLM's mappings and our quantizer and shard writer.

MLC-LLM's mapping gives, for each of its parameters, the checkpoint's tensors and a numpy function that makes one array
of them (concatenating, reordering heads, adding one to Gemma's norms, …). Our quantizer does the same arithmetic as
MLC-LLM's, bit for bit, without compiling a function for each shape. Experts' weights are quantized row by row like any
other.

Unlike our own conversion, this one holds a whole parameter in memory at a time, because its function needs it whole.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.weights import ShardWriter, StoredTensor, WeightsSummary
from recursivemas.mlc.checkpoint_mapping import CheckpointMapping
from recursivemas.mlc.definition import Definition
from recursivemas.system.errors import InputError
from recursivemas.system.progress import Progress
from recursivemas.system.quantize import BadWeightsError, GroupQuantizer, Scheme, cast

_READ_VALUES = 1 << 22


class MlcWeights:
    """A checkpoint's weights in the form that one of MLC-LLM's models takes."""

    def __init__(
        self,
        definition: Definition,
        tensors: Sequence[StoredTensor],
        mapping: CheckpointMapping,
        checkpoint: Checkpoint,
        scheme: Scheme,
    ) -> None:
        """Reads nothing yet.

        Args:
            definition: The model.
            tensors: What its compiled functions take, in call order.
            mapping: From `map_checkpoint` for the same checkpoint.
            checkpoint: The source.
            scheme: How to store weights.
        """
        self._definition = definition
        self._tensors = tensors
        self._mapping = mapping
        self._checkpoint = checkpoint
        self._scheme = scheme
        self._quantizer = GroupQuantizer(scheme.dtype)

    def arrays(self) -> Iterator[tuple[StoredTensor, NDArray[Any]]]:
        """Reads, maps and quantizes, parameter by parameter, in call order.

        Raises:
            InputError: A tensor has the wrong shape, or a weight cannot be stored.
        """
        places = {tensor.name: tensor for tensor in self._tensors}
        for name in self._mapping.order:
            for target, value in self._stored(name):
                if value.shape != places[target].shape:
                    raise self._error(
                        name,
                        f"{target} came out with shape {list(value.shape)}, config.json asks for "
                        f"{list(places[target].shape)}",
                    )
                yield places[target], value

    def write(self, folder: Path, progress: Progress = lambda done, total: None) -> WeightsSummary:
        """Writes shards and `tensor-cache.json` into a folder that the caller discards on failure.

        Raises:
            InputError: As `arrays`.
        """
        writer = ShardWriter(folder)
        total = sum(tensor.nbytes for tensor in self._tensors)
        done = 0
        for tensor, value in self.arrays():
            writer.add(tensor, [value])
            done += tensor.nbytes
            progress(done, total)
        infos = [self._checkpoint.tensors[each] for name in self._mapping.order for each in self._mapping.names[name]]
        parameters = sum(int(np.prod(info.shape, dtype=np.int64)) for info in infos)
        bits = total * 8 / max(1, parameters)
        shards = writer.finish({"ParamSize": len(self._tensors), "ParamBytes": total, "BitsPerParam": bits})
        return WeightsSummary(tuple(self._tensors), total, shards, parameters)

    def _stored(self, name: str) -> list[tuple[str, NDArray[Any]]]:
        """What one of MLC-LLM's parameters becomes: itself, or `q_weight` and `q_scale`."""
        weight = self._mapped(name)
        targets = self._definition.quantize_map.param_map.get(name)
        try:
            if targets is None:
                return [(name, cast(weight, self._scheme.dtype))]
            q_weight, q_scale = self._quantizer.quantize(weight.reshape(-1, weight.shape[-1]))
        except BadWeightsError as error:
            raise self._error(name, str(error)) from None
        lead = weight.shape[:-1]
        return [(targets[0], q_weight.reshape(*lead, -1)), (targets[1], q_scale.reshape(*lead, -1))]

    def _mapped(self, name: str) -> NDArray[Any]:
        """One parameter before quantization, by MLC-LLM's own function."""
        values = [_read(self._checkpoint, source) for source in self._mapping.names[name]]
        try:
            weight = self._definition.extern_map.map_func[name](*values)
        except (ValueError, IndexError) as error:
            raise self._error(name, f"shapes do not fit config.json ({' '.join(str(error).split())})") from error
        return np.ascontiguousarray(weight)

    def _error(self, name: str, what: str) -> InputError:
        sources = ", ".join(repr(source) for source in self._mapping.names[name])
        return InputError(f"{self._checkpoint.folder}: {sources}: {what}")


def _read(checkpoint: Checkpoint, name: str) -> NDArray[Any]:
    """A whole tensor; bfloat16 as float32, since that is what MLC-LLM's functions calculate with."""
    info = checkpoint.tensors[name]
    values = np.empty(info.shape, np.float16 if info.dtype == np.float16 else np.float32)
    first = 0
    for rows in checkpoint.read(name, _READ_VALUES):
        values[first : first + len(rows)] = rows
        first += len(rows)
    return values
