"""Reads a checkpoint tensor by tensor, without torch and without holding the checkpoint.

The weights are in safetensors or in a GGUF file, and an adapter may be merged into them. Files are read at offsets
instead of mapped, because mapped pages count as the process's memory.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from recursivemas.compiler.params import ParamSpec
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.gguf_model import GgufModel
from recursivemas.system.hub import ResolvedModel
from recursivemas.system.lora import LoraAdapter
from recursivemas.system.quantize import row_blocks

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}

_HARMLESS = re.compile(r"(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|(attn|attention)\.(masked_)?bias)$")
"""Buffers that older versions of transformers saved, although `config.json` determines them."""

_RESAVE = (
    "resave it with AutoModelForCausalLM.from_pretrained(...).save_pretrained(..., safe_serialization=True) "
    "of transformers"
)


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor is stored.

    Attributes:
        name: Its name in the checkpoint.
        dtype: float32, float16 or bfloat16; None for any other. What GGUF packs is unpacked to float32.
        stored_dtype: In the spelling of safetensors or GGUF, e.g. `BF16` or `Q4_K`.
        shape: Its shape.
        file: The file that has it.
        offset_bytes: Of its first byte from the start of the file.
    """

    name: str
    dtype: np.dtype[Any] | None
    stored_dtype: str
    shape: tuple[int, ...]
    file: Path
    offset_bytes: int


class Checkpoint:
    """An opened checkpoint: its configuration, and where its tensors are stored.

    Attributes:
        folder: The folder with its configuration and tokenizer.
        config: `config.json`.
        tensors: Every tensor by name.
    """

    def __init__(self, folder: Path, gguf: Path | None = None, adapter: LoraAdapter | None = None) -> None:
        """Opens a checkpoint and reads the headers of its weight files.

        Args:
            folder: The folder.
            gguf: The file with the weights, if they are not in the folder.
            adapter: What to merge into them.

        Raises:
            InputError: The folder, `config.json` or the weights are missing, damaged, or in another format, two files
                have different values for a tensor, or the adapter does not fit.
        """
        self.folder = folder
        self._gguf = None if gguf is None else GgufModel(gguf)
        self._adapter = adapter
        _check_folder(folder)
        self.config = read_config(folder)
        self.tensors: dict[str, TensorInfo] = {}
        if self._gguf is None:
            self._read_safetensors()
        else:
            self._read_gguf(self._gguf)
        if adapter is not None:
            adapter.check_fits({name: info.shape for name, info in self.tensors.items()}, self._is_tied())

    @classmethod
    def of(cls, model: ResolvedModel) -> "Checkpoint":
        """Opens what a user has named."""
        return cls(model.folder, model.gguf, model.adapter)

    @property
    def origin(self) -> Path:
        """The folder or file that the user knows, for messages."""
        return self.folder if self._gguf is None else self._gguf.file.path

    def _read_safetensors(self) -> None:
        for file, expected in _weight_files(self.folder).items():
            found = _read_header(file)
            for name in expected - found.keys():
                raise InputError(
                    f"{file}: tensor {name!r}, which the index places there, is missing; download it again"
                )
            for name, info in found.items():
                other = self.tensors.setdefault(name, info)
                if name in expected:
                    self.tensors[name] = info
                # transformers reads the last file, whatever the index says.
                if other is not info and not self._equal(info, other):
                    raise InputError(
                        f"{self.folder}: tensor {name!r} is in {other.file.name} and in {file.name} with different "
                        "values; leave it in one file only"
                    )

    def _read_gguf(self, model: GgufModel) -> None:
        float32 = np.dtype(np.float32)
        for name, source in model.sources.items():
            stored = source.stored
            file, offset = model.file.path, stored.offset_bytes
            self.tensors[name] = TensorInfo(name, float32, stored.type_name, source.shape, file, offset)

    def _is_tied(self) -> bool:
        text = self.config.get("text_config")
        inner = text.get("tie_word_embeddings") if isinstance(text, dict) else None
        return bool(self.config.get("tie_word_embeddings", inner))

    def nbytes(self, name: str) -> int:
        """Bytes of all blocks that `read` yields for a tensor."""
        info = self.tensors[name]
        assert info.dtype is not None, name
        itemsize = 4 if self._is_adapted(name) else info.dtype.itemsize
        return int(np.prod(info.shape, dtype=np.int64)) * itemsize

    def read(self, name: str, max_values: int) -> Iterator[NDArray[Any]]:
        """Reads a tensor in blocks of whole rows.

        Args:
            name: A tensor that has passed `check`.
            max_values: The most values in a block (a single row may have more).

        Yields:
            (R, ...) arrays, one block after the other, in the stored dtype, or in float32 if an adapter changes the
            tensor. Each is valid until the next.
        """
        adapter, first = self._adapter if self._is_adapted(name) else None, 0
        for rows in self._blocks(self.tensors[name], max_values):
            if adapter is None:
                yield rows
            else:
                yield rows.astype(np.float32) + adapter.change(name, first, len(rows))
            first += len(rows)

    def _is_adapted(self, name: str) -> bool:
        return self._adapter is not None and name in self._adapter.modules

    def _blocks(self, info: TensorInfo, max_values: int) -> Iterator[NDArray[Any]]:
        assert info.dtype is not None, info.name
        if self._gguf is not None:
            yield from self._gguf.blocks(info.name, max_values)
            return
        row_shape = info.shape[1:]
        width = int(np.prod(row_shape, dtype=np.int64))
        buffer = np.empty(0, info.dtype)
        with info.file.open("rb", buffering=0) as stream:
            stream.seek(info.offset_bytes)
            for _, rows in row_blocks(info.shape, max_values):
                if buffer.size < rows * width:
                    buffer = np.empty(rows * width, info.dtype)
                values = buffer[: rows * width]
                _read_exactly(stream, values.view(np.uint8).data, info)
                yield values.reshape(rows, *row_shape)

    def rename(self, names: Mapping[str, str]) -> None:
        """Keeps some tensors alone, under the names that a model's definition uses.

        Args:
            names: The new name by the name in the files.
        """
        self.tensors = {new: self.tensors[old] for old, new in names.items()}

    def check(self, specs: Iterable[ParamSpec]) -> None:
        """Checks that the checkpoint has exactly the tensors that a model definition needs, with the right shapes.

        Args:
            specs: The model's parameters.

        Raises:
            InputError: A tensor is missing, superfluous, or has another shape or a dtype that cannot be read.
        """
        wanted = {
            source: shape for spec in specs for source, shape in zip(spec.sources, spec.source_shapes, strict=True)
        }
        self.check_present(wanted, "config.json asks for")
        for name, shape in wanted.items():
            info = self.tensors[name]
            if info.shape != tuple(shape):
                raise InputError(
                    f"{info.file}: tensor {name!r} has shape {list(info.shape)}, config.json asks for {list(shape)}"
                )
        self.refuse_extra((name for name in self.tensors if name not in wanted), wanted, "the model's definition")

    def check_present(self, wanted: Iterable[str], who: str) -> None:
        """Checks that tensors exist and that their dtype can be converted.

        Args:
            wanted: Their names.
            who: Who needs them, as in '… missing that config.json asks for'.

        Raises:
            InputError: A tensor is missing, or has another dtype.
        """
        if missing := [name for name in dict.fromkeys(wanted) if name not in self.tensors]:
            raise InputError(f"{self.origin}: {listing(missing)} missing that {who}")
        for info in (self.tensors[name] for name in wanted):
            if info.dtype is None:
                raise InputError(
                    f"{info.file}: tensor {info.name!r} is {info.stored_dtype}; F32, F16 and BF16 can be converted, so "
                    "start from the checkpoint before it was quantized"
                )

    def refuse_extra(self, names: Iterable[str], wanted: Iterable[str], who: str) -> None:
        """Refuses tensors that a definition does not read, except for harmless ones.

        Args:
            names: The tensors that it does not read.
            wanted: The tensors that it reads.
            who: The definition, as in '… present that the model's definition has no use for'.

        Raises:
            InputError: A tensor is no buffer of old versions and no copy of a tied embedding table.
        """
        extra = [name for name in names if not _HARMLESS.search(name) and not self._is_copy(name, wanted)]
        if extra:
            raise InputError(
                f"{self.origin}: {listing(extra)} present that {who} has no use for; "
                "leaving them out could change what it computes"
            )

    def _is_copy(self, name: str, wanted: Iterable[str]) -> bool:
        """Whether `name` is a copy of the embedding table, which a tied output layer reads anyway."""
        copy = self.tensors[name]
        if name != "lm_head.weight" or copy.dtype is None:
            return False
        return any(self._equal(copy, self.tensors[each]) for each in wanted)

    def _equal(self, one: TensorInfo, other: TensorInfo) -> bool:
        """Whether two tensors have the same bytes; false for scalars and for a dtype that cannot be read."""
        if not one.shape or one.dtype is None or one.dtype != other.dtype or one.shape != other.shape:
            return False
        pairs = zip(self._blocks(one, 1 << 20), self._blocks(other, 1 << 20), strict=True)
        return all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in pairs)


def listing(names: Sequence[str]) -> str:
    """'tensor 'a' is' or '2 tensors ('a', 'b') are', for errors; names the first three."""
    shown = ", ".join(repr(name) for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor {shown} is" if len(names) == 1 else f"{len(names)} tensors ({shown}{more}) are"


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise InputError(f"{folder}: expected a checkpoint folder, this is a file")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint folder")


def _gguf(path: Path) -> str:
    return f"{path.parent}: the weights are in a GGUF file; name the file instead of the folder: {path}"


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint folder.

    Raises:
        InputError: It is missing or damaged, or the checkpoint is already quantized.
    """
    path = folder / "config.json"
    if not path.is_file() and any(folder.glob("*.gguf")):
        raise InputError(_gguf(next(folder.glob("*.gguf"))))
    config = read_json(path, "file; a checkpoint folder holds config.json, *.safetensors and tokenizer.json")
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(config).__name__}")
    quantization = config.get("quantization_config")
    if quantization is not None:
        named = isinstance(quantization, dict) and quantization.get("quant_method")
        method = named or "an unnamed method"
        raise InputError(f"{path}: the checkpoint is already quantized ({method}); start from the one before that")
    return config


def _weight_files(folder: Path) -> dict[Path, set[str]]:
    """The safetensors files of a folder, each with the tensors that it has according to the index."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():  # transformers prefers it to an index too
        return {single: set()}
    if index.is_file():
        content = read_json(index, "index")
        weight_map = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{index}: expected an object `weight_map` of tensor name to file name")
        files: dict[Path, set[str]] = {}
        for name, file in weight_map.items():
            if not isinstance(file, str) or Path(file).name != file or len(file.encode()) > 255:
                raise InputError(f"{index}: expected a file name for tensor {name!r}, got {file!r:.300}")
            files.setdefault(folder / file, set()).add(name)
        for path in files:
            if not path.is_file():
                raise InputError(f"{path}: the index names this file, but it is missing; fetch it again")
        return files
    raise InputError(_no_weights(folder))


def _no_weights(folder: Path) -> str:
    if (folder / "adapter_model.safetensors").is_file():
        return f"{folder}: holds a LoRA adapter only; name its base as the model and this folder as the adapter"
    others = sorted(folder.glob("*.safetensors"))
    if others:
        return f"{folder}: expected model.safetensors or model.safetensors.index.json, found only {others[0].name}"
    pickles = sorted(path for end in ("*.bin", "*.pt", "*.pth") for path in folder.glob(end))
    if pickles:
        return f"{folder}: only pickled weights ({pickles[0].name}), which can run code when read; {_RESAVE}"
    ggufs = sorted(folder.glob("*.gguf"))
    return _gguf(ggufs[0]) if ggufs else f"{folder}: no model.safetensors in it"


def _read_header(file: Path) -> dict[str, TensorInfo]:
    """Where the tensors of one safetensors file are stored.

    Source: the safetensors format: a little-endian u64 header size, a JSON header, then the data.

    Raises:
        InputError: The file is damaged, cut short, or something else.
    """
    try:
        # The library checks the header and its offsets, but does not return the offsets.
        with safe_open(file, framework="np"):
            pass
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        reason = re.sub(r"^Error while deserializing header: ", "", str(error))
        raise InputError(f"{file}: not a whole safetensors file ({reason}); download it again") from None
    return {
        name: TensorInfo(
            name,
            _DTYPES.get(entry["dtype"]),
            entry["dtype"],
            tuple(entry["shape"]),
            file,
            8 + size + entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _read_exactly(stream: Any, target: memoryview, info: TensorInfo) -> None:
    done = 0
    while done < len(target):
        count = stream.readinto(target[done:])
        if not count:
            raise InputError(f"{info.file}: ends inside tensor {info.name!r}; download it again")
        done += count
