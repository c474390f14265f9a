"""Reading with a clear error, writing whole or not at all."""

import json
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError


def read_json(path: Path, what: str) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        what: What it should be and where one comes from, for the message.

    Raises:
        InputError: When it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None


def refuse_newer(data: object, known: int, source: Path, what: str) -> None:
    """Checks a file's `version` before anything else of it: a newer format may have other keys.

    Args:
        data: What was read from the file.
        known: The newest version that this program reads.
        source: The file, for the message.
        what: The format's name, for the message.

    Raises:
        InputError: The file's version is newer.
    """
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > known:
        raise InputError(f"{source}: {what} version {version} is newer than this program's {known}; update it")


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name beside `path` and renames it; parent folders are made.

    Args:
        path: Replaced if it exists.
        text: The whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
