"""Reads `_metadata` out of a compiled library without running it.

`_metadata` returns a constant, so the `.wasm` contains its JSON text in one piece.
"""

import json
from pathlib import Path
from typing import Any

_OURS = b'"recursivemas"'


def read_library_metadata(library: Path) -> dict[str, Any]:
    """Finds a library's `_metadata` (docs/abi.md).

    Args:
        library: A `.wasm` that `rmas compile` wrote.

    Raises:
        ValueError: The library contains no such text.
    """
    data = library.read_bytes()
    marker = data.find(_OURS)
    while marker >= 0:
        start = data.rfind(b"{", 0, marker)
        while start >= 0 and marker - start < 1 << 24:
            end = data.find(b"\0", marker)
            value = _first_value(data[start : end if end >= 0 else len(data)])
            if isinstance(value, dict) and "recursivemas" in value and "params" in value:
                return value
            start = data.rfind(b"{", 0, start)
        marker = data.find(_OURS, marker + 1)
    raise ValueError(f"{library}: no _metadata in it")


def _first_value(text: bytes) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text.decode("ascii", errors="replace"))[0]
    except json.JSONDecodeError:
        return None
