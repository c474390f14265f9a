"""`recursivelink.json`: the trained links of a system, exactly as tensors.

Source: docs/formats.md; names.py has the tensors of each form. Tensors are base64 of little-endian float32 or float16,
row-major, weights (out, in) as in `torch.nn.Linear`.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from recursivemas.system.cache import damage, digests_of
from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer, write_text_atomic
from recursivemas.system.names import LINK_VARIANTS, Activation, Dtype, LinkTensor, LinkVariant, LinkVariantInfo

Array = npt.NDArray[np.floating[Any]]

INNER_TENSORS = {form.name: tuple(tensor.name for tensor in form.inner) for form in LINK_VARIANTS}
"""Names of an inner link's tensors in call order, by variant."""
OUTER_TENSORS = {form.name: tuple(tensor.name for tensor in form.outer) for form in LINK_VARIANTS}
"""Names of an outer link's tensors in call order, by variant."""
_TENSORS = {tensor.name: tensor for form in LINK_VARIANTS for tensor in (*form.inner, *form.outer)}
MOST_LINK_BYTES = 1 << 36
_FLOAT16_OVERFLOW = 65520.0
"""The smallest magnitude that rounds to infinity in float16."""
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


class TensorRecord(Closed):
    """A tensor."""

    dtype: Dtype
    """The dtype of the values."""
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    """The shape; weights are (out, in)."""
    data: str = Field(repr=False)
    """The values in base64: little-endian and row-major."""

    @classmethod
    def from_array(cls, array: Array, dtype: Dtype = "float32") -> Self:
        """Encodes an array, rounding to `dtype`."""
        raw = np.ascontiguousarray(array, dtype=_DTYPES[dtype]).tobytes()
        return cls(dtype=dtype, shape=array.shape, data=base64.b64encode(raw).decode("ascii"))

    def array(self) -> Array:
        """Decodes to an array of the record's dtype and shape.

        Raises:
            InputError: The base64 is broken, or its length does not fit the shape.
        """
        dtype = _DTYPES[self.dtype]
        expected = math.prod(self.shape) * dtype.itemsize
        try:
            raw = base64.b64decode(self.data, validate=True)
        except binascii.Error as error:
            raise InputError(f"tensor data is not base64: {error}") from None
        if len(raw) != expected:
            raise InputError(f"shape {list(self.shape)} of {self.dtype} needs {expected} bytes, got {len(raw)}")
        return np.frombuffer(raw, dtype=dtype).reshape(self.shape)


class Link(Closed):
    """A link: its dimensions and tensors."""

    source_size: int = Field(ge=1)
    """Hidden size of the input: S, or D for an inner link."""
    target_size: int = Field(ge=1)
    """Hidden size of the output."""
    width: int = Field(ge=1)
    """Hidden width R of the link."""
    tensors: dict[str, TensorRecord]
    """Tensors by the names of docs/abi.md; the variants `paper` and `normed` may leave out biases."""

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The shape that each named tensor must have."""
        sizes = {"source": self.source_size, "target": self.target_size, "width": self.width}
        return {name: tuple(sizes[size] for size in _TENSORS[name].shape) for name in names}

    def arrays(self, names: Iterable[str]) -> dict[str, Array]:
        """Tensors in call order as float32; a tensor that the file leaves out is zeros."""
        return {
            name: self.tensors[name].array().astype(np.float32) if name in self.tensors else np.zeros(shape, np.float32)
            for name, shape in self.shapes(names).items()
        }


class LinkFile(Closed):
    """The trained links of a system."""

    format: Literal["recursivemas.links"] = "recursivemas.links"
    """Says what the file is."""
    version: Literal[1] = 1
    """Version of the format."""
    system: str
    """Name of the system that the links were trained for."""
    variant: LinkVariant
    """Form of every link in the file."""
    activation: Activation = "gelu"
    """The form of GELU that the links were trained with."""
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    """Epsilon of the layer norms of the `ln_res` variant."""
    inner: dict[str, Link]
    """Inner links by agent id."""
    outer: dict[str, Link]
    """Outer links by edge id."""
    provenance: dict[str, Any] = Field(default={})
    """Seed, versions, steps, losses, sha256 of the agents' weights."""

    @model_validator(mode="after")
    def _check_links(self) -> Self:
        form = link_form(self.variant)
        for key, link in self.outer.items():
            self._check_link(f"outer link {key!r}", link, form.outer)
        for key, link in self.inner.items():
            self._check_link(f"inner link {key!r}", link, form.inner)
            if link.source_size != link.target_size:
                raise InputError(
                    f"inner link {key!r} maps {link.source_size} to {link.target_size}; it must keep the size"
                )
        return self

    def _check_link(self, where: str, link: Link, expected: Sequence[LinkTensor]) -> None:
        names = [tensor.name for tensor in expected]
        known = f"variant {self.variant!r} has {', '.join(names)}"
        if missing := [each.name for each in expected if each.name not in link.tensors and not each.optional]:
            raise InputError(f"{where} lacks tensor {missing[0]!r}; {known}")
        if extra := [name for name in link.tensors if name not in names]:
            raise InputError(f"{where} has unknown tensor {extra[0]!r}; {known}")
        shapes = link.shapes(link.tensors)
        for name, record in link.tensors.items():
            if record.shape != shapes[name]:
                raise InputError(
                    f"{where}: tensor {name!r} must have shape {list(shapes[name])}, got {list(record.shape)}"
                )
            try:
                finite = bool(np.isfinite(record.array()).all())
            except InputError as error:
                raise InputError(f"{where}: tensor {name!r}: {error}") from None
            if not finite:
                raise InputError(f"{where}: tensor {name!r} holds NaN or infinity")

    def check_fits(self, hidden_sizes: Mapping[str, int], edges: Mapping[str, tuple[str, str]]) -> None:
        """Checks that the links fit a system's agents and edges.

        Args:
            hidden_sizes: Hidden size by agent id.
            edges: (from, to) by edge id.

        Raises:
            InputError: A link is missing, or has the wrong dimensions.
        """
        for agent, size in hidden_sizes.items():
            _check_size(f"inner link {agent!r}", self.inner.get(agent), size, size, self.inner)
        for edge, (source, target) in edges.items():
            link = self.outer.get(edge)
            _check_size(f"outer link {edge!r}", link, hidden_sizes[source], hidden_sizes[target], self.outer)

    def check_compiles(self, source: Path) -> None:
        """Checks that compiled libraries compute these links; PyTorch computes every form.

        Args:
            source: The file that the links come from, for the message.

        Raises:
            InputError: The links were trained with another activation or epsilon.
        """
        form = link_form(self.variant)
        if self.activation != form.activation or self.layer_norm_eps != 1e-5:
            raise InputError(
                f"{source}: links were trained with activation {self.activation!r} and layer_norm_eps "
                f"{self.layer_norm_eps}; compiled libraries compute {form.activation!r} and 1e-05 only: "
                "train the links with these"
            )

    def rounded(self, dtype: Dtype) -> Self:
        """Returns the same links with every number in `dtype`.

        Raises:
            InputError: A number is beyond the range of float16.
        """

        def convert(link: Link) -> Link:
            arrays = {name: record.array() for name, record in link.tensors.items()}
            largest = max((float(np.abs(array).max(initial=0)) for array in arrays.values()), default=0.0)
            if dtype == "float16" and largest >= _FLOAT16_OVERFLOW:
                raise InputError(f"a link holds {largest:g}, beyond float16's 65504; use --dtype float32")
            tensors = {name: TensorRecord.from_array(array, dtype) for name, array in arrays.items()}
            return link.model_copy(update={"tensors": tensors})

        inner = {key: convert(link) for key, link in self.inner.items()}
        outer = {key: convert(link) for key, link in self.outer.items()}
        return self.model_copy(update={"inner": inner, "outer": outer})

    def save(self, path: Path) -> None:
        """Writes the file atomically."""
        write_text_atomic(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def link_form(variant: LinkVariant) -> LinkVariantInfo:
    """The tensors and the activation of a form of links."""
    return next(form for form in LINK_VARIANTS if form.name == variant)


def _check_size(where: str, link: Link | None, source: int, target: int, links: Mapping[str, Link]) -> None:
    if link is None:
        raise InputError(f"link file has no {where}; it has {', '.join(map(repr, links)) or 'none'}")
    if (link.source_size, link.target_size) != (source, target):
        raise InputError(
            f"{where} maps hidden size {link.source_size} to {link.target_size}, but the agents need "
            f"{source} to {target}; "
            "use the link file that was trained for these agents"
        )


def load_links(path: str | Path) -> LinkFile:
    """Reads and checks a `recursivelink.json`.

    Training writes a digest beside the links that it keeps on its way; a file that has one is compared with it.

    Raises:
        InputError: The file is missing, is not JSON, breaks the schema or is not as its digest says.
    """
    path = Path(path)
    if path.is_file() and digests_of(path).is_file() and (why := damage(path)) is not None:
        raise InputError(f"{path}: {why}; train again, or delete {digests_of(path).name} if the change is yours")
    data = read_json(path, "link file; `rmas train` writes one", MOST_LINK_BYTES)
    if isinstance(data, dict) and data.get("format") != "recursivemas.links":
        raise InputError(
            f"{path}: not a recursivelink.json (its 'format' is {data.get('format')!r}, "
            "expected 'recursivemas.links'); "
            "`rmas links convert` reads other formats"
        )
    refuse_newer(data, 1, path, "link format")
    return LinkFile.parse(data, str(path))
