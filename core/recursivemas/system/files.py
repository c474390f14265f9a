"""Reads files with clear errors, writes them whole or not at all, and hashes them."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError, is_of_disk
from recursivemas.system.strict import MOST_JSON_BYTES, parse_json, read_text


def read_json(path: Path, what: str, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Reads a JSON file, by the rules of `strict.py`.

    Args:
        path: The file.
        what: What the file should be and what writes one, for the message.
        most_bytes: A larger file is refused.

    Raises:
        InputError: The file is missing, unreadable, too large or not JSON.
    """
    return parse_json(read_text(path, what, most_bytes), str(path))


def refuse_newer(data: object, known: int, source: Path, what: str) -> None:
    """Refuses a file of a newer version. Call it before other checks, because a newer format may have other keys.

    Args:
        data: The parsed file.
        known: The newest version that this program reads.
        source: The file, for the message.
        what: The format's name, for the message.

    Raises:
        InputError: The file's version is newer.
    """
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > known:
        raise InputError(f"{source}: {what} version {version} is newer than this program's {known}; update it")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Hands out a temporary name beside `path`, and renames the file to `path` if the block ends well.

    Parent folders are made. On any exception the temporary file is removed and `path` stays as it was. The temporary
    name has the suffix of `path`, because some writers choose a format by it.

    Yields:
        Where to write.

    Raises:
        InputError: The disk is full, read-only or not ours.
    """
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        about = Path(str(error.filename))  # a failed write names no file
        if is_of_disk(error) and (error.filename is None or about in (temporary, *path.parents)):
            raise InputError(f"{path}: cannot be written: {error.strerror}; it is as it was before") from None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all; an existing file is replaced."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name` of a repository on the Hugging Face hub."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None


def keep_report(name: str, text: str, what: str) -> str:
    """Writes a text that is too long for a message to a new temporary file that only the user can read.

    Args:
        name: Part of the file's name.
        text: The text.
        what: What the text is, for the message.

    Returns:
        Where it is, or why it could not be written; the end of a message.
    """
    try:
        handle, path = tempfile.mkstemp(prefix=f"rmas-{name}-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError as error:
        return f"{what} could not be written to the temporary folder ({error.strerror})"
    return f"{path} has {what}"
