"""PEFT LoRA adapters, merged into a checkpoint's weights with numpy.

Source: peft's `LoraModel.merge_and_unload` on a model in float32: W + (B A) * alpha / r, and alpha / sqrt(r) with
`use_rslora`. Only adapters that peft merges in just this way are read; others are refused by name.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, sha256_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_READ = frozenset(
    {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules"}
    | {"exclude_modules", "bias", "init_lora_weights"}
)
_WITHOUT_EFFECT = frozenset(
    {"base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version"}
    # peft itself ignores it for linear layers, and all layers of the models here are linear or embeddings.
    | {"fan_in_fan_out"}
    # They count in training only.
    | {"lora_dropout", "runtime_config", "ephemeral_gpu_offload", "eva_config", "loftq_config"}
    # They are parts of features that another key turns on.
    | {"megatron_core", "qalora_group_size"}
)
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base weights as they are."""

_MATCHING_SECONDS = 5.0
"""Patterns of an adapter are expressions of its author; some would never end."""

_PREFIX = "base_model.model."
_PARTS = {
    "lora_A.weight": "a",
    "lora_B.weight": "b",
    "lora_embedding_A": "a",
    "lora_embedding_B": "b",
}


@dataclass(frozen=True)
class _Module:
    """The change of one weight.

    Attributes:
        a: (r, in) float32, for an embedding (r, V).
        b: (out, r) float32, for an embedding (D, r).
        scaling: What multiplies their product.
        embedding: Whether the weight is the transposed product.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    scaling: float
    embedding: bool

    @property
    def shape(self) -> tuple[int, int]:
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.embedding else shape

    def rows(self, first: int, count: int) -> NDArray[np.float32]:
        part = slice(first, first + count)
        product = (self.b @ self.a[:, part]).T if self.embedding else self.b[part] @ self.a
        return np.asarray(product * np.float32(self.scaling), np.float32)


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter that has been read.

    Attributes:
        folder: With `adapter_config.json` and `adapter_model.safetensors`.
        modules: By name of the weight that each changes.
        sha256: Over both files.
        source: Hub id; the folder's name for a folder of the user.
        revision: The hub's commit; None for a folder of the user.
    """

    folder: Path
    modules: Mapping[str, _Module]
    sha256: str
    source: str
    revision: str | None = None

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]], tied: bool) -> None:
        """Checks that a model has the weights that the adapter changes.

        Args:
            shapes: Shape of each of the model's weights.
            tied: Whether the output layer is the embedding table.

        Raises:
            InputError: A weight is missing or has another shape, or is tied.
        """
        for name, module in self.modules.items():
            if tied and re.search(r"(^|\.)(embed_tokens|lm_head)\.weight$", name):
                raise InputError(
                    f"{self.folder}: changes {name!r}, but the model uses one table for input and output, and merging "
                    "would change both; train an adapter without that module"
                )
            if name not in shapes:
                raise InputError(f"{self.folder}: changes {name!r}, which the model does not have; is it another base?")
            if shapes[name] != module.shape:
                raise InputError(
                    f"{self.folder}: changes {name!r} of shape {list(module.shape)}, but the model's has "
                    f"{list(shapes[name])}; is it another base?"
                )

    def change(self, name: str, first: int, count: int) -> NDArray[np.float32]:
        """What merging adds to some rows of a weight, (count, in) float32."""
        return self.modules[name].rows(first, count)

    @property
    def record(self) -> dict[str, str | None]:
        """Origin and digest, for manifests."""
        return {"adapter": self.source, "revision": self.revision, "sha256": self.sha256}


def read_adapter(folder: Path, source: str | None = None, revision: str | None = None) -> LoraAdapter:
    """Reads an adapter.

    Args:
        folder: With `adapter_config.json` and `adapter_model.safetensors`.
        source: Hub id, if it comes from the hub.
        revision: The hub's commit.

    Raises:
        InputError: A file is missing or damaged, or it is no LoRA adapter that can be merged exactly.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such adapter folder")
    config = read_json(folder / CONFIG, "file; an adapter folder holds adapter_config.json and " + WEIGHTS)
    if not isinstance(config, dict):
        raise InputError(f"{folder / CONFIG}: expected a JSON object, got {type(config).__name__}")
    _check(folder / CONFIG, config)
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = " (adapter_model.bin can run code when read)" if (folder / "adapter_model.bin").is_file() else ""
        raise InputError(f"{folder}: no {WEIGHTS} in it{pickled}; save it with peft's save_pretrained")
    modules = {name: _module(path, config, name, parts) for name, parts in _parts(path).items()}
    if not modules:
        raise InputError(f"{path}: changes nothing")
    digest = hashlib.sha256()
    for each in (folder / CONFIG, path):
        digest.update(bytes.fromhex(sha256_of(each)))
    weights = {f"{name}.weight": module for name, module in modules.items()}
    return LoraAdapter(folder, weights, digest.hexdigest(), source or folder.resolve().name, revision)


def _check(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses kinds of adapters that are not merged as this module does it."""
    if config.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type {config.get('peft_type')!r} cannot be merged; supported: LORA")
    if config.get("bias", "none") != "none":
        raise InputError(f"{path}: bias {config['bias']!r} is not supported, only 'none'")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise InputError(
            f"{path}: init_lora_weights {config['init_lora_weights']!r} changes the base's weights, which is not "
            "supported; save the adapter as plain LoRA (peft's path_initial_model_for_weight_conversion)"
        )
    for key, value in config.items():
        if key not in _READ | _WITHOUT_EFFECT and value not in (None, False, [], {}):
            raise InputError(f"{path}: {key} is {value!r:.60}, which is not supported; only plain LoRA can be merged")


def _parts(path: Path) -> dict[str, dict[str, tuple[str, NDArray[np.float32]]]]:
    """The file's tensors by module and part, each with the last part of its name."""
    found: dict[str, dict[str, tuple[str, NDArray[np.float32]]]] = {}
    try:
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118  # it is no mapping
                end = next((end for end in _PARTS if key.endswith(f".{end}")), None)
                if end is None or not key.startswith(_PREFIX):
                    hint = "; save it with save_embedding_layers=False" if "base_layer" in key else ""
                    raise InputError(f"{path}: tensor {key!r} is no part of a plain LoRA adapter{hint}")
                module = key.removeprefix(_PREFIX).removesuffix(f".{end}")
                values = np.asarray(file.get_tensor(key)).astype(np.float32)
                if not np.isfinite(values).all():
                    raise InputError(f"{path}: tensor {key!r} holds NaN or infinity")
                found.setdefault(module, {})[_PARTS[end]] = (end, values)
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); download it again") from None
    return found


def _module(
    path: Path, config: Mapping[str, Any], name: str, parts: Mapping[str, tuple[str, NDArray[np.float32]]]
) -> _Module:
    if set(parts) != {"a", "b"}:
        raise InputError(f"{path}: module {name!r} has only one of lora_A and lora_B")
    if not _named(config.get("target_modules"), name) or _named(config.get("exclude_modules"), name):
        raise InputError(f"{path}: module {name!r} is none of the target_modules of {CONFIG}, so peft would ignore it")
    (end, a), (_, b) = parts["a"], parts["b"]
    rank = _number(path, config, "r", "rank_pattern", name)
    alpha = _number(path, config, "lora_alpha", "alpha_pattern", name)
    if a.ndim != 2 or b.ndim != 2 or not a.shape[0] == b.shape[1] == rank:
        raise InputError(
            f"{path}: module {name!r} has the shapes {list(a.shape)} and {list(b.shape)}, which are not of rank {rank}"
        )
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return _Module(a, b, scaling, embedding=end.startswith("lora_embedding"))


def _named(targets: object, name: str) -> bool:
    """Whether `target_modules` names a module. Source: peft's `check_target_module_exists`."""
    if isinstance(targets, str):
        return targets == "all-linear" or _matches(targets, name)
    if isinstance(targets, list):
        return any(name == each or name.endswith(f".{each}") for each in targets if isinstance(each, str))
    return False


def _number(path: Path, config: Mapping[str, Any], key: str, pattern_key: str, name: str) -> float:
    """The rank or alpha of a module. Source: peft's `get_pattern_key`."""
    value, default = config.get(key), {"r": 8, "lora_alpha": 8}[key]
    patterns = config.get(pattern_key) or {}
    if not isinstance(patterns, dict):
        raise InputError(f"{path.parent / CONFIG}: {pattern_key}: an object was expected, got {patterns!r:.60}")
    matching = (each for each in patterns if _matches(rf"(.*\.)?({each})", name))
    pattern = next(matching, None)
    value = patterns[pattern] if pattern is not None else default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InputError(f"{path.parent / CONFIG}: {key}: a positive number was expected, got {value!r:.60}")
    return value


def _matches(pattern: str, name: str) -> bool:
    try:
        return regex.fullmatch(pattern, name, timeout=_MATCHING_SECONDS) is not None
    except regex.error:
        return False
    except TimeoutError:
        raise InputError(f"{CONFIG}: the pattern {pattern!r:.60} takes too long to match {name!r:.60}") from None
