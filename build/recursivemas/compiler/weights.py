"""Streams a checkpoint into MLC's weight shards: `tensor-cache.json` and `params_shard_<n>.bin`.

Source: the files that `tvm.contrib.tvmjs.dump_tensor_cache` writes with encode format `raw`, byte for byte. Unlike
there, tensors pass through in row blocks, so memory is bounded by a shard and not by the largest tensor.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.limits import rows_of_parts
from recursivemas.compiler.params import ParamSpec
from recursivemas.system.errors import InputError
from recursivemas.system.names import FILES
from recursivemas.system.progress import Progress
from recursivemas.system.quantize import BadWeightsError, GroupQuantizer, Scheme, cast, quantized_shapes

TENSOR_CACHE = next(each.file for each in FILES if each.name == "weights")

SHARD_BYTES = 32 << 20
"""A shard stays below this size, unless it holds a single tensor of at least half of it."""

_BLOCK_VALUES = 1 << 20
"""The number of weights to read at once: 2 MB of bfloat16."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the form that the compiled model takes.

    Attributes:
        name: MLC's name.
        shape: As stored; for a `q_weight` the packed shape.
        dtype: `float32`, `float16` or `uint32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size of the data."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class WeightsSummary:
    """Describes written weights.

    Attributes:
        tensors: Stored tensors, in call order.
        nbytes: Bytes of all shards.
        shards: Number of shard files.
        parameters: Number of weights before quantization.
    """

    tensors: tuple[StoredTensor, ...]
    nbytes: int
    shards: int
    parameters: int


def stored_tensors(spec: ParamSpec, scheme: Scheme) -> tuple[StoredTensor, ...]:
    """The tensors that a parameter, or each part of a table, becomes: itself, or its `q_weight` and `q_scale`."""
    return tuple(tensor for part in _parts(spec, scheme) for tensor in _tensors(part, scheme))


def row_bytes(columns: int, scheme: Scheme) -> int:
    """Bytes of the largest stored tensor for a row of a matrix."""
    one = ParamSpec("weight", (1, columns), (), (), quantize=True)
    return max(tensor.nbytes for tensor in _tensors(one, scheme))


def _parts(spec: ParamSpec, scheme: Scheme) -> list[ParamSpec]:
    """A parameter, or the parts of a table; see `limits`."""
    if not spec.table:
        return [spec]
    rows = rows_of_parts(spec.shape[0], row_bytes(spec.shape[1], scheme))
    if len(rows) == 1:
        return [spec]
    stem = spec.name.removesuffix("weight")
    return [
        replace(spec, name=f"{stem}parts.{index}.weight", shape=(each, *spec.shape[1:]))
        for index, each in enumerate(rows)
    ]


def _tensors(spec: ParamSpec, scheme: Scheme) -> tuple[StoredTensor, ...]:
    if not (scheme.group and spec.quantize):
        return (StoredTensor(spec.name, spec.shape, spec.dtype or scheme.dtype),)
    stem = spec.name.removesuffix("weight")
    assert stem != spec.name, spec.name
    weight_shape, scale_shape = quantized_shapes(spec.shape)
    return (
        StoredTensor(f"{stem}q_weight", weight_shape, "uint32"),
        StoredTensor(f"{stem}q_scale", scale_shape, scheme.dtype),
    )


def weights_nbytes(specs: Iterable[ParamSpec], scheme: Scheme) -> int:
    """Bytes of all shards; reads no weights."""
    return sum(tensor.nbytes for spec in specs for tensor in stored_tensors(spec, scheme))


def write_weights(
    checkpoint: Checkpoint,
    specs: Sequence[ParamSpec],
    scheme: Scheme,
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> WeightsSummary:
    """Converts a checkpoint into shards in `folder`, which the caller discards on failure.

    Args:
        checkpoint: The source; it is checked against `specs` first.
        specs: The model's parameters in call order, which is the order they are stored in.
        scheme: How to store them.
        folder: An existing folder.
        progress: Called at least once for each tensor.

    Returns:
        A description of the shards, whose bytes depend on the checkpoint, the specs and the scheme alone.

    Raises:
        InputError: The checkpoint lacks a tensor of the specs, or a weight cannot be stored.
    """
    checkpoint.check(specs)
    converter = _Converter(
        checkpoint, scheme, sum(checkpoint.nbytes(source) for spec in specs for source in spec.sources), progress
    )
    writer = ShardWriter(folder)
    stored: list[StoredTensor] = []
    for spec in specs:
        packed = scheme.group and spec.quantize
        streams = [_Rows(each) for each in (converter.quantized(spec) if packed else (converter.plain(spec),))]
        for part in _parts(spec, scheme):
            for tensor, rows in zip(_tensors(part, scheme), streams, strict=True):
                writer.add(tensor, rows.take(tensor.shape[0]))
                stored.append(tensor)
        for rows in streams:
            rows.finish()
    parameters = sum(int(np.prod(spec.shape, dtype=np.int64)) for spec in specs)
    nbytes = sum(tensor.nbytes for tensor in stored)
    metadata = {"ParamSize": len(stored), "ParamBytes": nbytes, "BitsPerParam": nbytes * 8 / max(1, parameters)}
    shards = writer.finish(metadata)
    return WeightsSummary(tuple(stored), nbytes, shards, parameters)


class _Converter:
    """Turns the checkpoint's tensors into pieces of stored ones."""

    def __init__(self, checkpoint: Checkpoint, scheme: Scheme, total_bytes: int, progress: Progress) -> None:
        self._checkpoint = checkpoint
        self._scheme = scheme
        self._quantizer = GroupQuantizer(scheme.dtype)
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._progress = progress

    def plain(self, spec: ParamSpec) -> Iterator[NDArray[Any]]:
        """The parameter in the model dtype, or its own."""
        for source, rows in self._rows(spec):
            with _naming(self._checkpoint, source):
                yield cast(rows, spec.dtype or self._scheme.dtype)

    def quantized(self, spec: ParamSpec) -> tuple[Iterator[NDArray[Any]], Iterator[NDArray[Any]]]:
        """The parameter's `q_weight`, and its `q_scale`, which must be read after it."""
        scales: list[NDArray[Any]] = []

        def weights() -> Iterator[NDArray[Any]]:
            for source, rows in self._rows(spec):
                with _naming(self._checkpoint, source):
                    q_weight, q_scale = self._quantizer.quantize(rows)
                scales.append(q_scale)
                yield q_weight

        return weights(), (scale for scale in scales)

    def _rows(self, spec: ParamSpec) -> Iterator[tuple[str, NDArray[Any]]]:
        for source in spec.sources:
            for rows in self._checkpoint.read(source, _BLOCK_VALUES):
                yield source, rows
                self._done_bytes += rows.nbytes
                self._progress(self._done_bytes, self._total_bytes)


class _Rows:
    """Rows that come in pieces, taken in other pieces."""

    def __init__(self, pieces: Iterator[NDArray[Any]]) -> None:
        self._pieces = pieces
        self._left: NDArray[Any] | None = None

    def take(self, count: int) -> Iterator[NDArray[Any]]:
        """The next so many rows."""
        while count > 0:
            piece = next(self._pieces) if self._left is None else self._left
            piece, rest = piece[:count], piece[count:]
            self._left = rest if len(rest) else None
            count -= len(piece)
            yield piece

    def finish(self) -> None:
        """Lets whoever gives the pieces finish; none may be left."""
        assert self._left is None and next(self._pieces, None) is None


@contextmanager
def _naming(checkpoint: Checkpoint, source: str) -> Iterator[None]:
    """Turns a `BadWeightsError` into an InputError that names the tensor."""
    try:
        yield
    except BadWeightsError as error:
        raise InputError(f"{checkpoint.tensors[source].file}: tensor {source!r} {error}") from None


class ShardWriter:
    """Places tensors in shards by TVM's rule and writes them one after the other.

    Source: `TensorCacheShardingManager` of `tvm.contrib.tvmjs`: a tensor that would fill the current shard starts the
    next one; a tensor of at least half a shard goes at once to a shard of its own, and the current shard stays open.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending = bytearray()
        self._pending_records: list[dict[str, Any]] = []
        self._shards: list[dict[str, Any]] = []

    def add(self, tensor: StoredTensor, pieces: Iterable[NDArray[Any]]) -> None:
        """Stores a tensor whose data comes in C-contiguous pieces."""
        record: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "format": "raw",
            "nbytes": tensor.nbytes,
            "byteOffset": 0,
        }
        if len(self._pending) + tensor.nbytes >= SHARD_BYTES:
            if tensor.nbytes * 2 >= SHARD_BYTES:
                self._write(pieces, [record])
                return
            self._flush()
        record["byteOffset"] = len(self._pending)
        self._pending_records.append(record)
        for piece in pieces:
            self._pending += _bytes(piece)
        assert len(self._pending) == record["byteOffset"] + tensor.nbytes, tensor

    def finish(self, metadata: dict[str, Any]) -> int:
        """Writes the last shard and `tensor-cache.json`; returns the number of shards."""
        self._flush()
        text = json.dumps({"metadata": metadata, "records": self._shards}, indent=4)
        (self._folder / TENSOR_CACHE).write_text(text, encoding="utf-8")
        return len(self._shards)

    def _flush(self) -> None:
        if self._pending:
            self._write([np.frombuffer(self._pending, np.uint8)], self._pending_records)
            self._pending = bytearray()
            self._pending_records = []

    def _write(self, pieces: Iterable[NDArray[Any]], records: list[dict[str, Any]]) -> None:
        name = f"params_shard_{len(self._shards)}.bin"
        nbytes = sum(record["nbytes"] for record in records)
        digest = hashlib.md5(usedforsecurity=False)
        with (self._folder / name).open("wb") as stream:
            for piece in pieces:
                data = _bytes(piece)
                digest.update(data)
                stream.write(data)
            assert stream.tell() == nbytes, records
        self._shards.append(
            {
                "dataPath": name,
                "format": "raw-shard",
                "nbytes": nbytes,
                "records": records,
                "md5sum": digest.hexdigest(),
            }
        )


def _bytes(piece: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
