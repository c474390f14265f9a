"""Reads a GGUF file: its metadata, and its tensors row by row, dequantised.

Source: the GGUF format, versions 2 and 3, little-endian. The package `gguf` unpacks the weights. We do not use its
reader, because it believes every count and offset of a file, and makes objects of each token.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recursivemas.system.errors import InputError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32

# Far beyond every published model; more is a damaged or hostile file.
_MOST_KEYS = 1 << 16
_MOST_TENSORS = 1 << 16
_MOST_ITEMS = 1 << 23
_MOST_HEADER_BYTES = 1 << 28
_MOST_DIMENSIONS = 4
_LARGEST_DIMENSION = 1 << 31

_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
"""numpy's dtypes of the format's numbers."""
_BOOL, _STRING, _ARRAY = 7, 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor is stored.

    Attributes:
        name: As in the file.
        type_name: How its weights are packed, such as `Q4_K`.
        shape: In numpy's order: the rows first.
        row_bytes: Size of a packed row.
        offset_bytes: Of its first byte from the start of the file.
    """

    name: str
    type_name: str
    shape: tuple[int, ...]
    row_bytes: int
    offset_bytes: int

    @property
    def rows(self) -> int:
        """Number of rows; a vector is one row."""
        return math.prod(self.shape[:-1])

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return self.rows * self.row_bytes


class GgufFile:
    """An opened GGUF file.

    Attributes:
        path: The file.
        metadata: Values by key; arrays of numbers are numpy arrays, arrays of texts are lists.
        tensors: By name.
        header_bytes: Size of everything before the weights.
    """

    def __init__(self, path: Path) -> None:
        """Reads everything but the weights.

        Raises:
            InputError: It is no GGUF file, or a damaged one, or a part of several, or has weights of a type that cannot
                be unpacked.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                header = _Header(path, stream)
                self.metadata = header.metadata()
                found = header.tensors()
                self.header_bytes = header.aligned_end(self.metadata.get("general.alignment", _ALIGNMENT))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        if int(self.metadata.get("split.count", 1)) > 1:
            raise InputError(f"{path}: is one of several parts; join them first (llama.cpp's llama-gguf-split --merge)")
        self.tensors = {each.name: each for each in header.placed(found, self.header_bytes)}

    def packed(self, tensor: GgufTensor, first: int, count: int) -> NDArray[np.uint8]:
        """Rows as they are stored, (count, row_bytes) uint8."""
        with self.path.open("rb") as stream:
            stream.seek(tensor.offset_bytes + first * tensor.row_bytes)
            data = stream.read(count * tensor.row_bytes)
        if len(data) != count * tensor.row_bytes:
            raise InputError(f"{self.path}: ends inside tensor {tensor.name!r}; download it again")
        return np.frombuffer(data, np.uint8).reshape(count, tensor.row_bytes)

    def text(self, key: str) -> str | None:
        """A text of the metadata; None if the key is absent.

        Raises:
            InputError: It is something else.
        """
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{self.path}: {key}: a text was expected, got {value!r:.60}")
        return value


def unpack(rows: NDArray[np.uint8], type_name: str) -> NDArray[np.float32]:
    """Dequantises packed rows.

    Args:
        rows: (R, row_bytes) uint8.
        type_name: How they are packed.

    Returns:
        (R, K) float32, equal to the package `gguf`.
    """
    import gguf  # takes a while

    with np.errstate(invalid="ignore", over="ignore"):  # whoever stores the weights refuses NaN and infinity
        values = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[type_name])
    return np.asarray(values, np.float32)


class _Header:
    """Reads a file from its beginning and refuses what cannot be true."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream
        self._size = path.stat().st_size
        self._at = 0
        if self._take(4) != MAGIC:
            raise self._refuse("not a GGUF file (it does not begin with 'GGUF')")
        version = self._number("<u4")
        if version not in _VERSIONS:
            why = "big-endian" if version & 0xFFFF == 0 else f"version {version}"
            raise self._refuse(f"GGUF, but {why}; versions 2 and 3, little-endian, can be read")
        self._tensor_count = self._count("<u8", _MOST_TENSORS, 24, "tensors")
        self._key_count = self._count("<u8", _MOST_KEYS, 13, "keys of metadata")

    def metadata(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for _ in range(self._key_count):
            key = self._text("a key")
            if key in values:
                raise self._refuse(f"has the key {key!r} twice")
            values[key] = self._value(self._number("<u4"), key)
        alignment = values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._refuse(f"general.alignment: a power of two was expected, got {alignment!r:.60}")
        return values

    def tensors(self) -> list[GgufTensor]:
        """With offsets from the end of the header."""
        names: set[str] = set()
        found = []
        for _ in range(self._tensor_count):
            tensor = self._tensor()
            if tensor.name in names:
                raise self._refuse(f"has tensor {tensor.name!r} twice")
            names.add(tensor.name)
            found.append(tensor)
        return found

    def aligned_end(self, alignment: int) -> int:
        return self._at + -self._at % alignment

    def placed(self, tensors: Sequence[GgufTensor], start: int) -> Iterator[GgufTensor]:
        """The tensors with offsets from the start of the file, in the order of the data."""
        end = start
        for tensor in sorted(tensors, key=lambda each: each.offset_bytes):
            offset = start + tensor.offset_bytes
            if offset < end:
                raise self._refuse(f"tensor {tensor.name!r} overlaps another")
            end = offset + tensor.nbytes
            if end > self._size:
                raise self._refuse(
                    f"tensor {tensor.name!r} ends at byte {end}, the file at {self._size}; download it again"
                )
            yield GgufTensor(tensor.name, tensor.type_name, tensor.shape, tensor.row_bytes, offset)

    def _tensor(self) -> GgufTensor:
        import gguf

        name = self._text("a tensor's name")
        dimensions = self._number("<u4")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self._refuse(f"tensor {name!r} has {dimensions} dimensions; 1 to {_MOST_DIMENSIONS} were expected")
        shape = tuple(self._number("<u8") for _ in range(dimensions))[::-1]
        if not all(1 <= size <= _LARGEST_DIMENSION for size in shape):
            raise self._refuse(f"tensor {name!r} has the shape {list(shape)}, which no model has")
        kind, offset = self._number("<u4"), self._number("<u8")
        try:
            packing = gguf.GGMLQuantizationType(kind)
            block, block_bytes = gguf.GGML_QUANT_SIZES[packing]
            unpack(np.zeros((1, block_bytes), np.uint8), packing.name)
        except (ValueError, KeyError):
            raise self._refuse(f"tensor {name!r} is of type {kind}, which is unknown") from None
        except NotImplementedError:
            raise self._refuse(f"tensor {name!r} is {packing.name}, which cannot be dequantised") from None
        if shape[-1] % block:
            raise self._refuse(
                f"tensor {name!r}: rows of {shape[-1]} values are no multiple of {packing.name}'s {block}"
            )
        return GgufTensor(name, packing.name, shape, shape[-1] // block * block_bytes, offset)

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._text(key)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _NUMBERS:
            raise self._refuse(f"{key}: has the type {kind}, which is unknown")
        value = self._number(_NUMBERS[kind])
        return bool(value) if kind == _BOOL else value

    def _array(self, key: str) -> Any:
        kind = self._number("<u4")
        if kind == _STRING:
            return [self._text(key) for _ in range(self._count("<u8", _MOST_ITEMS, 8, f"items of {key}"))]
        if kind not in _NUMBERS:
            raise self._refuse(f"{key}: is an array of the type {kind}, which cannot be read")
        dtype = np.dtype(_NUMBERS[kind])
        count = self._count("<u8", _MOST_ITEMS, dtype.itemsize, f"items of {key}")
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _text(self, what: str) -> str:
        length = self._number("<u8")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refuse(f"{what[:60]}: is not UTF-8") from None

    def _count(self, dtype: str, most: int, item_bytes: int, what: str) -> int:
        count = int(self._number(dtype))
        if count > most or count * item_bytes > self._size - self._at:
            raise self._refuse(f"says that it has {count} {what[:60]}, more than fit")
        return count

    def _number(self, dtype: str) -> Any:
        kind = np.dtype(dtype)
        return np.frombuffer(self._take(kind.itemsize), kind)[0].item()

    def _take(self, count: int) -> bytes:
        if count > self._size - self._at:
            raise self._refuse(f"ends at byte {self._size}, in the middle of its header; download it again")
        if self._at + count > _MOST_HEADER_BYTES:
            raise self._refuse(f"has a header of more than {_MOST_HEADER_BYTES >> 20} MiB")
        self._at += count
        return self._stream.read(count)

    def _refuse(self, why: str) -> InputError:
        return InputError(f"{self._path}: {why}")
