"""The folder that stands for a GGUF file: its `config.json`, tokenizer and licence; the weights stay in the file."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

import recursivemas.system
from recursivemas.system.atomic import output_folder
from recursivemas.system.cache import damage, kind_folder, remove, seal
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of
from recursivemas.system.gguf_file import GgufFile
from recursivemas.system.gguf_model import GgufModel
from recursivemas.system.gguf_tokenizer import write_tokenizer
from recursivemas.system.tokenizer import read_tokenizer_json

TOKENIZER_PATTERNS = ("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
"""What a folder that supplies a tokenizer is read for."""

_NORMAL = 1


def gguf_folder(
    gguf: Path, tokenizer: Path | None = None, licences: Sequence[Path] = (), licence: str | None = None
) -> Path:
    """Writes what a checkpoint folder has beside the weights into the cache, or finds it there.

    Args:
        gguf: The file.
        tokenizer: A folder whose tokenizer and chat template count instead of the file's.
        licences: Licence files that came with it.
        licence: What those declare, if the file itself declares none.

    Raises:
        InputError: The file cannot be read, or its tokenizer must be given and is not.
    """
    model = GgufModel(gguf)
    supplied = _files(tokenizer) if tokenizer else []
    folder = kind_folder("checkpoints") / _key(model, [*supplied, *licences], licence)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if damage(folder):
            remove(folder)
            with output_folder(folder) as made:
                _write(model, made, supplied, licences, licence)
            seal(folder)
    return folder


def _write(
    model: GgufModel, folder: Path, supplied: Sequence[Path], licences: Sequence[Path], licence: str | None
) -> None:
    text = json.dumps(model.config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    for path in [*supplied, *licences]:
        shutil.copyfile(path, folder / path.name)
    if supplied:
        _check_vocabulary(model.file, folder / "tokenizer.json")
    else:
        write_tokenizer(model.file, folder)
    declared = model.file.text("general.license") or licence
    head = f"---\nlicense: {json.dumps(declared)}\n---\n" if declared else ""
    (folder / "README.md").write_text(f"{head}The weights are those of {model.file.path.name}.\n", encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json in it; the tokenizer is read from there")
    return [path for pattern in TOKENIZER_PATTERNS for path in sorted(folder.glob(pattern)) if path.is_file()]


def _key(model: GgufModel, files: Sequence[Path], licence: str | None) -> str:
    """A digest of everything that decides the folder's content."""
    digest = hashlib.sha256()
    for root in recursivemas.system.__path__:
        for path in sorted(Path(root).glob("gguf_*.py")):
            digest.update(path.read_bytes())
    with model.file.path.open("rb") as stream:
        digest.update(stream.read(model.file.header_bytes))
    digest.update(json.dumps([model.file.path.name, licence]).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()[:32]


def _check_vocabulary(file: GgufFile, path: Path) -> None:
    """Refuses a tokenizer that gives other ids to the file's ordinary tokens."""
    tokens, kinds = file.metadata.get("tokenizer.ggml.tokens"), file.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(kinds, np.ndarray) or len(kinds) != len(tokens):
        return
    _, tokenizer = read_tokenizer_json(path)
    for index in np.flatnonzero(kinds == _NORMAL).tolist():
        if (found := tokenizer.id_to_token(index)) != tokens[index]:
            raise InputError(
                f"{path}: its token {index} is {found!r}, but {file.path.name} has {tokens[index]!r} there; the "
                "tokenizer belongs to another model"
            )
