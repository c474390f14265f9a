"""Checks a checkpoint's tokenizer and reads what the browser and MLC's configuration need of it.

Source: `tokenizer.json` of the tokenizers library; MLC-LLM's `TokenizerInfo` for the last three attributes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.tokenizer import read_tokenizer_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
"""The files that an agent folder gets. Older formats (vocab.json, tokenizer.model) repeat what tokenizer.json holds."""


@dataclass(frozen=True)
class TokenizerFacts:
    """A checked tokenizer.

    Attributes:
        files: The existing ones of `TOKENIZER_FILES`.
        size: Number of tokens, added ones included.
        special_ids: Id of every special token by its text.
        token_postproc_method: `byte_level` or `byte_fallback`: how a token's text becomes bytes.
        prepend_space_in_encode: Whether encoding puts a space before the text.
        strip_space_in_decode: Whether decoding removes one space.
    """

    files: tuple[str, ...]
    size: int
    special_ids: Mapping[str, int]
    token_postproc_method: str
    prepend_space_in_encode: bool
    strip_space_in_decode: bool

    def mlc_info(self) -> dict[str, Any]:
        """MLC's `tokenizer_info`."""
        return {
            "token_postproc_method": self.token_postproc_method,
            "prepend_space_in_encode": self.prepend_space_in_encode,
            "strip_space_in_decode": self.strip_space_in_decode,
        }


def read_tokenizer(folder: Path, vocab_size: int) -> TokenizerFacts:
    """Reads and checks a checkpoint folder's tokenizer.

    Args:
        folder: The checkpoint folder.
        vocab_size: Rows of the model's embedding table.

    Raises:
        InputError: The tokenizer is missing, broken, in an older format, or has ids that the model lacks.
    """
    path = folder / "tokenizer.json"
    content, tokenizer = read_tokenizer_json(path)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        raise InputError(
            f"{path}: token ids go up to {largest}, but the model's vocabulary (config.json) has {vocab_size} rows; "
            "the tokenizer belongs to another checkpoint"
        )
    special = {token.content: id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    decoders = list(_flat(content.get("decoder"), "decoders"))
    normalizers = list(_flat(content.get("normalizer"), "normalizers"))
    return TokenizerFacts(
        files=tuple(name for name in TOKENIZER_FILES if (folder / name).is_file()),
        size=tokenizer.get_vocab_size(with_added_tokens=True),
        special_ids=special,
        token_postproc_method="byte_level" if any(d["type"] == "ByteLevel" for d in decoders) else "byte_fallback",
        prepend_space_in_encode=any(n["type"] == "Prepend" and n.get("prepend") == "\u2581" for n in normalizers),
        strip_space_in_decode=any(
            d["type"] == "Strip" and (d.get("content"), d.get("start"), d.get("stop")) == (" ", 1, 0) for d in decoders
        ),
    )


def _flat(step: Any, key: str) -> Iterator[dict[str, Any]]:
    """The steps of a pipeline, whether it is one step or a `Sequence` of them."""
    if isinstance(step, dict) and step.get("type") == "Sequence":
        for inner in step.get(key) or []:
            yield from _flat(inner, key)
    elif isinstance(step, dict) and isinstance(step.get("type"), str):
        yield step
