"""The licence that a checkpoint declares, so that it stays with what is built from it."""

import re
from pathlib import Path

import huggingface_hub
import yaml
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # its HTTP client's, unexported

from recursivemas.system.hub import ResolvedModel

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)

_KNOWN_TEXTS = (
    ("apache-2.0", ("apache license", "version 2.0")),
    ("mit", ("permission is hereby granted, free of charge",)),
    ("bsd-3-clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("bsd-2-clause", ("redistribution and use in source and binary forms",)),
    ("gpl-3.0", ("gnu general public license", "version 3")),
)
"""Identifier and phrases that its text has near the beginning, the most particular first."""


def declared_licence(model: ResolvedModel) -> str | None:
    """The identifier of a checkpoint's licence, as the Hub spells it.

    Its model card decides, then the text of its LICENSE file; None when neither says.
    """
    card = _card(model)
    if card is not None and (match := _FRONT_MATTER.match(card)):
        try:
            metadata = yaml.safe_load(match.group(1))
        except yaml.YAMLError:
            metadata = None
        if isinstance(metadata, dict):
            declared = metadata.get("license_name") if metadata.get("license") == "other" else metadata.get("license")
            if isinstance(declared, str) and declared:
                return declared
    return _from_text(model.folder)


def _card(model: ResolvedModel) -> str | None:
    path = model.folder / "README.md"
    if not path.is_file() and model.source is not None:
        try:
            path = Path(huggingface_hub.hf_hub_download(model.source, "README.md", revision=model.revision))
        except (HTTPError, OSError, ValueError):
            return None  # offline, or no card: the licence text decides
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _from_text(folder: Path) -> str | None:
    for path in sorted([*folder.glob("LICENSE*"), *folder.glob("LICENCE*")]):
        text = " ".join(path.read_text(encoding="utf-8", errors="replace")[:4000].lower().split())
        for identifier, phrases in _KNOWN_TEXTS:
            if all(phrase in text for phrase in phrases):
                return identifier
    return None
