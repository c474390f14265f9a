"""Other people's link files: the paper's released `.pt` adapters and recursiveMASWebLLM's nested lists.

Source: docs/training.md, other people's links. A released folder holds state dicts `proj1/proj2/pre_ln/post_ln` (inner)
and `proj1/proj2/ln_source/ln_target/residual_proj` (outer), both of variant `ln_res`; a nested-list file holds
`{"hidden", "gelu", "norm", "links": [{w1, b1, w2, b2, scale, w3?, b3?}]}`, weights (out, in).
"""

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recursivemas.system.errors import InputError
from recursivemas.system.files import atomic_file, read_json, write_text_atomic
from recursivemas.system.links_file import MOST_LINK_BYTES, Link, LinkFile, TensorRecord
from recursivemas.system.names import Activation, LinkVariant

Kind = Literal["inner", "outer"]

_PROJECTIONS = {"proj1.weight": "w1", "proj1.bias": "b1", "proj2.weight": "w2", "proj2.bias": "b2"}


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


RELEASED_NAMES: dict[Kind, dict[str, str]] = {
    "inner": {**_norm("pre_ln", "ln_pre"), **_PROJECTIONS, **_norm("post_ln", "ln_post")},
    "outer": {
        **_norm("ln_source", "ln_source"),
        **_PROJECTIONS,
        **{"residual_proj.weight": "w3", "residual_proj.bias": "b3"},
        **_norm("ln_target", "ln_target"),
    },
}
"""Names of tensors in released adapters, and in link files."""
_WRAPPERS = ("module.", "adapter.", "model.", "_orig_mod.")
_ZERO_WHEN_ABSENT = {"residual_proj.bias"}
_NESTED_GELU: dict[str, Activation] = {
    "erf": "gelu",
    "gelu": "gelu",
    "tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "approximate": "gelu_tanh",
}
_NESTED_KEYS = {"w1", "b1", "w2", "b2", "w3", "b3", "scale"}


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` file, read without running code from it.

    Raises:
        InputError: When it is not a state dict, saying what it is.
    """
    try:
        loaded = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{path}: no such adapter file") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: holds Python objects besides tensors, which are never loaded; "
            "save the adapter's state_dict() instead"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # torch raises nearly anything for a damaged file
        raise InputError(
            f"{path}: not a PyTorch file: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path}: expected a state dict of tensors, got {_what(loaded)}")
    return {_unwrapped(str(name)): value for name, value in loaded.items()}


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _what(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with keys {', '.join(map(repr, list(value)[:6]))}"
    return f"a {type(value).__name__}"


def kind_of(names: Sequence[str]) -> Kind | None:
    """Whether tensor names are those of a released inner or outer adapter."""
    for kind, known in RELEASED_NAMES.items():
        if set(known) - _ZERO_WHEN_ABSENT <= set(names) <= set(known):
            return kind
    return None


def released_link(path: Path, wanted: Kind) -> Link:
    """One released adapter as a link.

    Raises:
        InputError: When the file is something else, saying what.
    """
    state = read_state_dict(path)
    kind = kind_of(list(state))
    if kind is None:
        listed = ", ".join(list(state)[:8])
        raise InputError(f"{path}: not a released {wanted} adapter; its tensors are {listed or 'none'}")
    if kind != wanted:
        raise InputError(f"{path}: is an {kind} adapter, expected an {wanted} one; swap the files")
    arrays = {ours: state[theirs] for theirs, ours in RELEASED_NAMES[kind].items() if theirs in state}
    if kind == "outer" and "b3" not in arrays:
        arrays["b3"] = arrays["w3"].new_zeros(arrays["w3"].shape[0])
    if arrays["w1"].ndim != 2 or arrays["w2"].ndim != 2:
        raise InputError(
            f"{path}: expected matrices, got tensors of shape {[list(each.shape) for each in state.values()]}"
        )
    width, source = arrays["w1"].shape
    target = arrays["w2"].shape[0]
    tensors = {name: _record(tensor) for name, tensor in arrays.items()}
    return Link(source_size=source, target_size=target, width=width, tensors=tensors)


def _record(tensor: Tensor) -> TensorRecord:
    # bfloat16 becomes float32, which holds it exactly.
    dtype: Literal["float32", "float16"] = "float16" if tensor.dtype == torch.float16 else "float32"
    array = tensor.detach().to(torch.float16 if dtype == "float16" else torch.float32).numpy()
    return TensorRecord.from_array(array, dtype)


def from_released(system: str, inner: Mapping[str, Path], outer: Mapping[str, Path]) -> LinkFile:
    """Released adapters as a link file.

    Args:
        system: Name for the file.
        inner: Adapter file by agent id.
        outer: Adapter file by edge id.

    Raises:
        InputError: Naming the file that is not what it should be.
    """
    files = {key: str(path.name) for key, path in {**inner, **outer}.items()}
    data = {
        "system": system,
        "variant": "ln_res",
        "inner": {agent: released_link(path, "inner") for agent, path in inner.items()},
        "outer": {edge: released_link(path, "outer") for edge, path in outer.items()},
        "provenance": {"converted_from": "released adapters", "files": files},
    }
    return LinkFile.parse(data, "released adapters")


def to_released(links: LinkFile, folder: Path) -> list[Path]:
    """Writes `inner_<agent>.pt` and `outer_<edge>.pt` state dicts.

    Raises:
        InputError: When the links are not of the released variant.
    """
    if links.variant != "ln_res":
        raise InputError(f"released adapters are of variant 'ln_res', these links of {links.variant!r}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    parts: tuple[tuple[Kind, Mapping[str, Link]], ...] = (("inner", links.inner), ("outer", links.outer))
    for kind, group in parts:
        for key, link in group.items():
            state = {
                theirs: torch.from_numpy(link.tensors[ours].array().copy())
                for theirs, ours in RELEASED_NAMES[kind].items()
            }
            path = folder / f"{kind}_{key.replace('->', '_to_')}.pt"
            buffer = io.BytesIO()
            torch.save(state, buffer)
            with atomic_file(path) as temporary:
                temporary.write_bytes(buffer.getvalue())
            written.append(path)
    return written


def from_nested(path: Path, system: str, agents: Sequence[str], edges: Sequence[tuple[str, str, str]]) -> LinkFile:
    """A nested-list file as a link file of variant `paper`, or `normed` if it says `norm: true`.

    The first entries are inner links of `agents` in order, the rest outer links of `edges` in order. An entry computes
    scale·(W3·h + b3 + W2·GELU(W1·h + b1) + b2), where W3 is the identity if it is left out, and h is divided by its
    length first if the file says `norm`. `scale` is multiplied into w2, b2, w3 and b3 of an outer link; an inner link
    of variant `normed` has one of its own. Source: recursiveMASWebLLM, `train_recursivelink.py`; its links keep the
    size and have no w3.

    Args:
        path: The JSON file.
        system: Name for the file.
        agents: Agent ids.
        edges: (edge id, from, to).

    Raises:
        InputError: When the file is something else, has too few or too many links, or computes what neither variant
            can.
    """
    data = read_json(path, "nested-list link file", MOST_LINK_BYTES)
    if not isinstance(data, dict) or not isinstance(data.get("links"), list):
        raise InputError(f"{path}: expected {{hidden, gelu, norm, links: [...]}}, got {_what(data)}")
    norm = data.get("norm")
    if norm not in (None, False, True, "none", ""):
        raise InputError(
            f"{path}: norm {norm!r} is unknown; expected true (h is divided by its length) or false: the links cannot "
            "be represented in this format, so train new ones with `rmas train`"
        )
    variant: LinkVariant = "normed" if norm in (True, 1) else "paper"
    gelu = data.get("gelu", "erf")
    if not isinstance(gelu, str) or gelu not in _NESTED_GELU:
        raise InputError(f"{path}: gelu {gelu!r} is unknown; known are {', '.join(_NESTED_GELU)}")
    entries = data["links"]
    if len(entries) != len(agents) + len(edges):
        wanted = [f"inner {agent}" for agent in agents] + [f"outer {edge[0]}" for edge in edges]
        raise InputError(
            f"{path}: has {len(entries)} links, system {system!r} needs {len(wanted)}, in this order: "
            f"{', '.join(wanted)}"
        )
    inner = zip(agents, entries, strict=False)
    outer = zip(edges, entries[len(agents) :], strict=True)
    data = {
        "system": system,
        "variant": variant,
        "activation": _NESTED_GELU[gelu],
        "inner": {agent: _nested_link(path, f"inner {agent}", entry, "inner", variant) for agent, entry in inner},
        "outer": {edge[0]: _nested_link(path, f"outer {edge[0]}", entry, "outer", variant) for edge, entry in outer},
        "provenance": {"converted_from": "nested lists", "files": {"links": path.name}},
    }
    return LinkFile.parse(data, str(path))


def _nested_link(path: Path, name: str, entry: Any, kind: Kind, variant: LinkVariant) -> Link:
    where = f"{path}: link {name}"
    if not isinstance(entry, dict) or not {"w1", "w2"} <= set(entry) <= _NESTED_KEYS:
        raise InputError(f"{where} is {_what(entry)}; expected w1, b1, w2, b2, scale, w3, b3")
    arrays = {key: _nested_array(f"{where}: {key}", value) for key, value in entry.items() if value is not None}
    scale = arrays.pop("scale", np.float32(1))
    if np.ndim(scale) != 0 or any(key not in arrays or arrays[key].ndim != 2 for key in ("w1", "w2")):
        raise InputError(f"{where}: expected w1 and w2 as lists of rows, and scale as one number")
    (width, source), target = arrays["w1"].shape, arrays["w2"].shape[0]
    if 0 in (width, source, target):
        raise InputError(f"{where}: a list is empty")
    if kind == "inner":
        if "w3" in arrays or "b3" in arrays:
            raise InputError(
                f"{where} has a w3 or a b3; an inner link here adds h as it is. "
                "Inner links come first in the file, then outer ones"
            )
        if variant == "normed":
            scale, arrays["scale"] = np.float32(1), np.full(target, scale, np.float32)
        elif scale != 1:
            raise InputError(
                f"{where} has a scale other than 1; an inner link here adds h as it is, unless the file says norm: true"
            )
    elif "w3" not in arrays:
        if source != target:
            raise InputError(f"{where} maps {source} to {target} and has no w3; only equal sizes can go without")
        arrays["w3"] = np.eye(source, dtype=np.float32)
    scaled = {key: array if key in ("w1", "b1") else array * scale for key, array in arrays.items()}
    tensors = {key: TensorRecord.from_array(array) for key, array in scaled.items()}
    return Link(source_size=source, target_size=target, width=width, tensors=tensors)


def _nested_array(where: str, value: Any) -> Any:
    """Nested lists of numbers as a float32 array.

    Raises:
        InputError: When rows differ in length, something else than numbers is in them, or float32 cannot hold a number.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: the lists are not numbers of one shape") from None
    if array.dtype.kind not in "iuf":  # no texts, booleans or objects
        raise InputError(f"{where}: expected lists of numbers, got {_what(value)} with something else in it")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{where}: a number is too large for float32")
    return array


def to_nested(links: LinkFile, path: Path) -> None:
    """Writes a nested-list file: inner links, then outer links; exact for float32 values.

    Raises:
        InputError: When the links are of variant `ln_res`, or an inner link's scale is not one number.
    """
    if links.variant == "ln_res":
        raise InputError("nested lists hold variants 'paper' and 'normed', these links are of 'ln_res'")

    def entry(link: Link) -> dict[str, Any]:
        arrays = {name: record.array() for name, record in link.tensors.items()}
        scale = arrays.pop("scale", np.ones(1, np.float32))
        if (scale != scale[0]).any():
            raise InputError("nested lists hold one scale for a link, these inner links have one for each dimension")
        return {"scale": float(scale[0]), **{name: array.tolist() for name, array in arrays.items()}}

    every = [entry(link) for link in (*links.inner.values(), *links.outer.values())]
    hidden = next(iter(links.inner.values())).source_size if links.inner else None
    gelu = "tanh" if links.activation == "gelu_tanh" else "erf"
    norm = True if links.variant == "normed" else None
    write_text_atomic(path, json.dumps({"hidden": hidden, "gelu": gelu, "norm": norm, "links": every}) + "\n")
