"""`recursivelink.json`: the trained links of a system, exactly as tensors.

Source: DESIGN, formats; tensor names and order are docs/abi.md's. Tensors are base64 of little-endian float32 or
float16, row-major, weights (out, in) as in `torch.nn.Linear`.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer, write_text_atomic

Variant = Literal["paper", "ln_res"]
Array = npt.NDArray[np.floating[Any]]

INNER_TENSORS: dict[Variant, tuple[str, ...]] = {
    "paper": ("w1", "b1", "w2", "b2"),
    "ln_res": ("ln_pre.weight", "ln_pre.bias", "w1", "b1", "w2", "b2", "ln_post.weight", "ln_post.bias"),
}
OUTER_TENSORS: dict[Variant, tuple[str, ...]] = {
    "paper": ("w1", "b1", "w2", "b2", "w3", "b3"),
    "ln_res": (
        "ln_source.weight",
        "ln_source.bias",
        "w1",
        "b1",
        "w2",
        "b2",
        "w3",
        "b3",
        "ln_target.weight",
        "ln_target.bias",
    ),
}
OPTIONAL_TENSORS = frozenset({"b1", "b2", "b3"})
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


class TensorRecord(Closed):
    """One tensor: dtype, shape and base64 of its little-endian bytes."""

    dtype: Literal["float32", "float16"]
    shape: tuple[int, ...]
    data: str = Field(repr=False)

    @classmethod
    def from_array(cls, array: Array, dtype: Literal["float32", "float16"] = "float32") -> Self:
        """Encodes an array, rounding to `dtype`."""
        raw = np.ascontiguousarray(array, dtype=_DTYPES[dtype]).tobytes()
        return cls(dtype=dtype, shape=array.shape, data=base64.b64encode(raw).decode("ascii"))

    def array(self) -> Array:
        """Decodes to an array of the record's dtype and shape.

        Raises:
            InputError: When the base64 is broken or its length does not fit the shape.
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
    """One link: its dimensions and tensors.

    Attributes:
        source_size: Hidden size that goes in (S, or D for an inner link).
        target_size: Hidden size that comes out.
        width: Hidden width R of the link.
        tensors: By the names of docs/abi.md; biases may be left out of the `paper` variant.
    """

    source_size: int = Field(ge=1)
    target_size: int = Field(ge=1)
    width: int = Field(ge=1)
    tensors: dict[str, TensorRecord]

    def shapes(self, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """The shape each named tensor must have."""
        source, target, width = self.source_size, self.target_size, self.width
        known = {
            "w1": (width, source),
            "b1": (width,),
            "w2": (target, width),
            "b2": (target,),
            "w3": (target, source),
            "b3": (target,),
        }
        for name in ("ln_pre", "ln_source"):
            known |= {f"{name}.weight": (source,), f"{name}.bias": (source,)}
        for name in ("ln_post", "ln_target"):
            known |= {f"{name}.weight": (target,), f"{name}.bias": (target,)}
        return {name: known[name] for name in names}

    def arrays(self, names: tuple[str, ...]) -> dict[str, Array]:
        """Tensors in call order as float32; an absent bias is zeros."""
        shapes = self.shapes(names)
        return {
            name: self.tensors[name].array().astype(np.float32)
            if name in self.tensors
            else np.zeros(shapes[name], np.float32)
            for name in names
        }


class LinkFile(Closed):
    """The whole file.

    Attributes:
        system: Name of the system the links were trained for.
        variant: Form of every link in the file.
        activation: GELU form the links were trained with.
        layer_norm_eps: Of the `ln_res` variant.
        inner: By agent id.
        outer: By edge id.
        provenance: Seed, versions, steps, losses, sha256 of the agents' weights.
    """

    format: Literal["recursivemas.links"] = "recursivemas.links"
    version: Literal[1] = 1
    system: str
    variant: Variant
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    inner: dict[str, Link]
    outer: dict[str, Link]
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_links(self) -> Self:
        for kind, links, names in (
            ("inner", self.inner, INNER_TENSORS[self.variant]),
            ("outer", self.outer, OUTER_TENSORS[self.variant]),
        ):
            for key, link in links.items():
                self._check_link(f"{kind} link {key!r}", link, names)
                if kind == "inner" and link.source_size != link.target_size:
                    raise InputError(
                        f"inner link {key!r} maps {link.source_size} to {link.target_size}; it must keep the size"
                    )
        return self

    def _check_link(self, where: str, link: Link, names: tuple[str, ...]) -> None:
        optional = OPTIONAL_TENSORS if self.variant == "paper" else frozenset()
        if missing := [name for name in names if name not in link.tensors and name not in optional]:
            raise InputError(f"{where} lacks tensor {missing[0]!r}; variant {self.variant!r} has {', '.join(names)}")
        if extra := [name for name in link.tensors if name not in names]:
            raise InputError(
                f"{where} has unknown tensor {extra[0]!r}; variant {self.variant!r} has {', '.join(names)}"
            )
        for name, shape in link.shapes(names).items():
            record = link.tensors.get(name)
            if record is None:
                continue
            if record.shape != shape:
                raise InputError(f"{where}: tensor {name!r} must have shape {list(shape)}, got {list(record.shape)}")
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
            InputError: For a missing link or one of the wrong dimensions.
        """
        for agent, size in hidden_sizes.items():
            _check_size(f"inner link {agent!r}", self.inner.get(agent), size, size, self.inner)
        for edge, (source, target) in edges.items():
            link = self.outer.get(edge)
            _check_size(f"outer link {edge!r}", link, hidden_sizes[source], hidden_sizes[target], self.outer)

    def rounded(self, dtype: Literal["float32", "float16"]) -> Self:
        """The same links with every number in `dtype`."""

        def convert(link: Link) -> Link:
            tensors = {k: TensorRecord.from_array(t.array(), dtype) for k, t in link.tensors.items()}
            return link.model_copy(update={"tensors": tensors})

        inner = {key: convert(link) for key, link in self.inner.items()}
        outer = {key: convert(link) for key, link in self.outer.items()}
        return self.model_copy(update={"inner": inner, "outer": outer})

    def save(self, path: Path) -> None:
        """Writes the file atomically."""
        write_text_atomic(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


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

    Raises:
        InputError: When the file is missing, is not JSON, or breaks the schema.
    """
    path = Path(path)
    data = read_json(path, "link file; `rmas train` writes one")
    if isinstance(data, dict) and data.get("format") != "recursivemas.links":
        raise InputError(
            f"{path}: not a recursivelink.json (its 'format' is {data.get('format')!r}, "
            "expected 'recursivemas.links'); "
            "`rmas links convert` reads other formats"
        )
    refuse_newer(data, 1, path, "link format")
    return LinkFile.parse(data, str(path))
