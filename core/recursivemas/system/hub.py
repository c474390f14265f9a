"""Finds the checkpoint folder that a user names: a folder on this machine, or a hub id, which is downloaded."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its HTTP client's, unexported
    DryRunError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from recursivemas.system.errors import InputError
from recursivemas.system.files import is_hub_id

_WANTED = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "LICENSE*",
    "NOTICE*",
]
"""Excludes pickles and second copies of the weights in other formats."""

_NESTED = ["[!a]*/*"]
"""Folders are left out, except for additional_chat_templates."""


@dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint folder and its origin.

    Attributes:
        folder: The folder on this machine.
        name: The folder's own name, or the part of the hub id after the slash.
        source: The hub id; None for a folder of the user.
        revision: The hub's commit; None for a folder of the user.
    """

    folder: Path
    name: str
    source: str | None = None
    revision: str | None = None


def resolve_model(model: str, revision: str | None = None) -> ResolvedModel:
    """Finds a checkpoint folder, downloading it if `model` is a hub id. It resumes an interrupted download.

    Args:
        model: A folder, or `owner/name` on the Hugging Face hub.
        revision: Branch, tag or commit of the hub's repository; the default branch by default.

    Raises:
        InputError: There is no such folder or repository, it is gated, it has no safetensors, the hub cannot be
            reached, or the disk is too small.
    """
    path = Path(model).expanduser()
    if path.exists():
        if revision is not None:
            raise InputError(f"{model}: --revision is for models of the hub, this is a folder here")
        return ResolvedModel(path, path.resolve().name)
    if not is_hub_id(model):
        raise InputError(f"{model}: no such checkpoint folder, and not a hub id (owner/name) either")
    folder = _download(model, revision)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{model}: the hub's repository has no model*.safetensors; only safetensors can be converted")
    # The hub's cache keeps each commit in a folder named after it.
    return ResolvedModel(folder, model.rsplit("/", 1)[1], model, folder.name)


def resolve_files(name: str, base: Path, patterns: Sequence[str]) -> Path:
    """Finds a folder, or downloads files at the top of a hub's repository.

    Args:
        name: A folder, or `owner/name` on the Hugging Face hub.
        base: What a relative folder is relative to.
        patterns: Names of the wanted files, with wildcards.

    Raises:
        InputError: There is no such folder or repository, or the hub cannot be reached.
    """
    folder = base / name
    return folder if folder.is_dir() else _download(name, None, patterns)


def _download(model: str, revision: str | None, patterns: Sequence[str] = _WANTED) -> Path:
    """Downloads to the hub's cache, or finds an earlier download there if the hub cannot be reached."""
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": list(patterns), "ignore_patterns": _NESTED}
    instead = f"download it where there is a network ('hf download {model}') and give that folder"
    try:
        _check_disk(model, wanted)
        return Path(huggingface_hub.snapshot_download(model, **wanted))
    except GatedRepoError:
        raise InputError(
            f"{model}: gated on the hub; accept its terms at https://huggingface.co/{model} and log in with "
            "'hf auth login', or give the folder of a copy"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{model}: neither a folder here nor a repository on the hub (a private one needs 'hf auth login')"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{model}: the hub's repository has no revision {revision!r}") from None
    except HFValidationError as error:
        raise InputError(f"{model}: no such checkpoint folder, and not a hub id either: {_line(error)}") from None
    except LocalEntryNotFoundError:
        raise InputError(
            f"{model}: no such folder here, and the Hugging Face hub cannot be reached (offline?); {instead}"
        ) from None
    except (HTTPError, XetDownloadError, OSError) as error:
        raise InputError(
            f"{model}: the download failed ({_line(error)}); run it again to resume, or {instead}"
        ) from None


def _check_disk(model: str, wanted: dict[str, Any]) -> None:
    try:
        files: Any = huggingface_hub.snapshot_download(model, dry_run=True, **wanted)
    except DryRunError:
        return  # the download itself will say why the hub cannot be asked
    needed = sum(file.file_size or 0 for file in files if file.will_download)
    place = Path(HF_HUB_CACHE)
    existing = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{model}: the download needs {needed / 1e6:.0f} MB, {place} has {free / 1e6:.0f} MB free; make room or "
            "set HF_HOME to a larger disk"
        )


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
