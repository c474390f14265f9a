"""The licence that a checkpoint declares; everything built from the checkpoint names it."""

from pathlib import Path

import huggingface_hub
import yaml
from huggingface_hub import metadata_load
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # its HTTP client's, unexported

from recursivemas.system.hub import ResolvedModel

_KNOWN_TEXTS = (
    ("apache-2.0", ("apache license", "version 2.0")),
    ("mit", ("permission is hereby granted, free of charge",)),
    ("bsd-3-clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("bsd-2-clause", ("redistribution and use in source and binary forms",)),
    ("gpl-3.0", ("gnu general public license", "version 3")),
)
"""Identifiers, and phrases near the beginning of each licence's text; the most specific first."""


def declared_licence(model: ResolvedModel) -> str | None:
    """The identifier of a checkpoint's licence, as the Hub spells it.

    The model card decides, else the text of the LICENSE file; None if neither names one.
    """
    card = _card(model)
    try:
        found = card and metadata_load(card)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError, yaml.YAMLError):
        found = None
    metadata = found if isinstance(found, dict) else {}
    declared = metadata.get("license_name" if metadata.get("license") == "other" else "license")
    return declared if isinstance(declared, str) and declared else _from_text(model.folder)


def _card(model: ResolvedModel) -> Path | None:
    path = model.folder / "README.md"
    if not path.is_file() and model.source is not None:
        try:
            path = Path(huggingface_hub.hf_hub_download(model.source, "README.md", revision=model.revision))
        except (HTTPError, OSError, ValueError):
            return None  # offline, or no card
    return path if path.is_file() else None


def _from_text(folder: Path) -> str | None:
    for path in sorted([*folder.glob("LICENSE*"), *folder.glob("LICENCE*")]):
        text = " ".join(path.read_text(encoding="utf-8", errors="replace")[:4000].lower().split())
        for identifier, phrases in _KNOWN_TEXTS:
            if all(phrase in text for phrase in phrases):
                return identifier
    return None
