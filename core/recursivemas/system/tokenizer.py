"""Reads a checkpoint's tokenizer as transformers does, and refuses it where `tokenizer.json` says something else.

For some families `AutoTokenizer` does not read `tokenizer.json` as it is: it takes the vocabulary and builds the steps
around it anew, or adds tokens of `tokenizer_config.json`. The page has `tokenizer.json` alone, so both have to agree.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from recursivemas.system.errors import InputError, panics_raised
from recursivemas.system.files import read_json
from recursivemas.system.probe_texts import probe_texts

_OLDER_FORMATS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

_REMEDY = (
    'if tokenizer.json is right, set "tokenizer_class": "TokenizersBackend" in tokenizer_config.json; if transformers '
    "is, write tokenizer.json anew with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


@dataclass(frozen=True)
class ProbedTokenizer:
    """A tokenizer that transformers and `tokenizer.json` agree about.

    Attributes:
        tokenizer: What `AutoTokenizer` makes of the folder.
        texts: The corpus of `probe_texts`.
        ids: Ids of each text, without the tokens that a model puts around it.
    """

    tokenizer: Any
    texts: tuple[str, ...]
    ids: tuple[list[int], ...]

    @property
    def special_tokens(self) -> dict[int, str]:
        """Tokens that decoding leaves out, by id."""
        added = self.tokenizer.added_tokens_decoder
        return {token_id: token.content for token_id, token in added.items() if token.special}


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder, from `AutoTokenizer`.

    Raises:
        InputError: It cannot be read, or `tokenizer.json` gives other ids.
    """
    return probe_tokenizer(folder).tokenizer


def probe_tokenizer(folder: Path) -> ProbedTokenizer:
    """Reads a tokenizer with transformers and compares it with `tokenizer.json` by the texts of `probe_texts`.

    Raises:
        InputError: It cannot be read, or `tokenizer.json` gives other ids.
    """
    path = folder / "tokenizer.json"
    content, plain = read_tokenizer_json(path)
    if content["model"].get("dropout"):
        raise InputError(f"{path}: its dropout draws the tokens by lot, so no text has certain ids; remove it")
    tokenizer = _auto_tokenizer(folder)
    added = [*plain.get_added_tokens_decoder().values(), *tokenizer.added_tokens_decoder.values()]
    texts = tuple(dict.fromkeys(probe_texts(list(dict.fromkeys(token.content for token in added)))))
    plain.no_padding()
    plain.no_truncation()
    try:
        with panics_raised():
            expected = encode(tokenizer, texts)
            found = [encoding.ids for encoding in plain.encode_batch(texts, add_special_tokens=False)]
    except Exception as error:  # the library raises plain Exception, for instance if there is no token for the unknown
        raise InputError(f"{path}: cannot read every text: {_one_line(error)}") from None
    name_of = tokenizer.convert_ids_to_tokens
    for text, ours, theirs in zip(texts, expected, found, strict=True):
        if ours != theirs:
            raise InputError(f"{path}: {difference(text, name_of, ours, theirs, 'tokenizer.json')}; {_REMEDY}")
    return ProbedTokenizer(tokenizer, texts, tuple(expected))


def read_tokenizer_json(path: Path) -> tuple[dict[str, Any], Tokenizer]:
    """Reads `tokenizer.json`, as JSON and with the tokenizers library.

    Raises:
        InputError: There is none, only one in an older format, or a broken one.
    """
    older = [name for name in _OLDER_FORMATS if (path.parent / name).is_file()]
    if not path.is_file() and older:
        raise InputError(
            f"{path}: missing; there is only {older[0]}; write it with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers"
        )
    content = read_json(path, "tokenizer; copy the one that belongs to the checkpoint into its folder")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(
        isinstance(each, dict) and isinstance(each.get("content"), str) for each in added
    ):
        raise InputError(f"{path}: added_tokens: expected a list of objects with a text 'content'")
    texts = Counter(token["content"] for token in added)
    twice = next((text for text, count in texts.items() if count > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: added token {twice!r} is duplicated; loaders disagree about which one wins, so remove one"
        )
    try:
        with panics_raised():
            return content, Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path}: not a tokenizer that the tokenizers library can read: {_one_line(error)}") from None


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text as transformers gives them, without the tokens that a model puts around it."""
    options = {"add_special_tokens": False, "padding": False, "truncation": False, "verbose": False}
    ids: list[list[int]] = tokenizer(list(texts), **options)["input_ids"]
    return ids


def decode(tokenizer: Any, ids: Sequence[Sequence[int]]) -> list[str]:
    """Text of each list of ids as transformers gives it, without special tokens."""
    with quiet_transformers():
        texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def difference(text: str, name_of: Any, ours: Sequence[int], theirs: Sequence[int], whose: str) -> str:
    """Says in one line where two readings of a text part.

    Args:
        text: What was read.
        name_of: Gives the tokens of a list of ids.
        ours: Ids according to transformers.
        theirs: Ids according to the other reader.
        whose: The other reader.
    """
    same = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    start = max(0, (min(len(ours), len(theirs)) if same is None else same) - 1)
    shown = [name_of(list(ids[start : start + 5])) for ids in (ours, theirs)]
    where = f", from token {start + 1} on," if start else ""
    return f"transformers reads {excerpt(text)}{where} as {shown[0]} and {whose} as {shown[1]}"


def excerpt(text: str) -> str:
    """A text in quotes, cut after 60 characters."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


def _auto_tokenizer(folder: Path) -> Any:
    with quiet_transformers() as transformers:
        try:
            # It would ask at the terminal whether to run code of the folder.
            options = {"local_files_only": True, "trust_remote_code": False}
            return transformers.AutoTokenizer.from_pretrained(folder, **options)
        except Exception as error:  # whatever its many classes raise
            raise InputError(f"{folder}: transformers cannot read the tokenizer: {_one_line(error)}") from None


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Hands out transformers, which gives no advice meanwhile."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it would say that torch is missing
    import transformers  # takes a second

    logs = transformers.utils.logging
    level = logs.get_verbosity()
    logs.set_verbosity_error()
    try:
        yield transformers
    finally:
        logs.set_verbosity(level)


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]


def special_flags(content: dict[str, Any], special: Iterable[str]) -> dict[str, Any]:
    """`tokenizer.json` with the added tokens marked as special that transformers leaves out of decoded text.

    Args:
        content: Of `tokenizer.json`.
        special: Texts of these tokens.
    """
    marked = set(special)
    tokens = [{**token, "special": token["content"] in marked} for token in content.get("added_tokens") or []]
    return {**content, "added_tokens": tokens}
