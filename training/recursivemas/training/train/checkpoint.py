"""Files of tensors that a training run reads again: whole or not at all, and with a digest that shows any damage.

A file is one line, `recursivemas checkpoint <sha256 of the rest>`, and then what `torch.save` writes. Version 0.1.0
wrote the second part alone; the zip file that it is has a CRC of each of its members.
"""

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from recursivemas.system.errors import InputError
from recursivemas.system.files import atomic_file

_HEAD = re.compile(rb"recursivemas checkpoint ([0-9a-f]{64})\n")


def save_checkpoint(path: Path, value: Any) -> None:
    """Writes tensors and plain values, flushed to the disk before the file gets its name."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    content = buffer.getvalue()
    head = f"recursivemas checkpoint {hashlib.sha256(content).hexdigest()}\n"
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(head.encode() + content)
        stream.flush()
        os.fsync(stream.fileno())


def load_checkpoint(path: Path) -> Any:
    """Reads what `save_checkpoint` wrote, onto the CPU.

    Raises:
        InputError: The bytes are not those that were written, or the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if head := _HEAD.match(content):
        content = content[head.end() :]
        whole = hashlib.sha256(content).hexdigest().encode() == head[1]
    else:
        whole = _is_whole_zip(content)
    try:
        if whole:
            return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception:  # torch raises nearly anything for a file that is no checkpoint
        pass
    raise InputError(f"{path}: is damaged: its bytes are not those that were written; train anew in another --out")


def _is_whole_zip(content: bytes) -> bool:
    if not content.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return bool(archive.namelist()) and archive.testzip() is None
    except Exception:  # zipfile raises nearly anything for a damaged archive
        return False
