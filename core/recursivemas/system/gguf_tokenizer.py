"""The tokenizer of a GGUF file, as `tokenizer.json` and `tokenizer_config.json`.

A file has a vocabulary and merges, and names the steps before them (`tokenizer.ggml.pre`). A name stands for the steps
of a published tokenizer. If a file has no such name, or one that is not known here, the user is asked for the
tokenizer. It is never guessed.

Source: the names of llama.cpp's `llama-vocab.cpp`; the steps of the `tokenizer.json` that each is named after.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from recursivemas.system.errors import InputError
from recursivemas.system.gguf_file import GgufFile

_CONTROL, _USER_DEFINED = 3, 4

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_WORDS}|\p{{N}}|{_REST}"


@dataclass(frozen=True)
class _Steps:
    """What comes before a byte-level vocabulary.

    Attributes:
        first: The steps before the one that spells bytes as letters.
        gpt2: Whether that one also splits like GPT-2.
        normalizer: The normaliser, if there is one.
        ignore_merges: Whether a whole piece that is a token stays whole.
    """

    first: tuple[Mapping[str, Any], ...] = ()
    gpt2: bool = False
    normalizer: Mapping[str, Any] | None = None
    ignore_merges: bool = False


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_BYTE_LEVEL = {
    "gpt-2": _Steps(gpt2=True),
    "smollm": _Steps(({"type": "Digits", "individual_digits": True},), gpt2=True),
    "llama-bpe": _Steps((_split(_LLAMA3),), ignore_merges=True),
    "qwen2": _Steps((_split(_QWEN2),), normalizer={"type": "NFC"}),
}
"""By the name of the steps."""

_NAMES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_TEMPLATE = "tokenizer.chat_template"


def write_tokenizer(file: GgufFile, folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`.

    Raises:
        InputError: The file does not say enough, or contradicts itself.
    """
    tokens = _texts(file, "tokenizer.ggml.tokens")
    content = _tokenizer(file, tokens)
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    config: dict[str, Any] = {"tokenizer_class": "TokenizersBackend", "clean_up_tokenization_spaces": False}
    for name, stored in _NAMES.items():
        token_id = file.metadata.get(f"tokenizer.ggml.{stored}_token_id")
        if token_id is not None:
            if not isinstance(token_id, int) or not 0 <= token_id < len(tokens):
                raise InputError(f"{file.path}: {name} {token_id!r:.60} is none of its {len(tokens)} tokens")
            config[name] = tokens[token_id]
    if template := chat_templates(file):
        config["chat_template"] = template
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def chat_templates(file: GgufFile) -> str | list[dict[str, str]] | None:
    """The file's chat template, or several with their names; None if it has none."""
    default, start = file.text(_TEMPLATE), f"{_TEMPLATE}."
    others = {key.removeprefix(start): file.text(key) or "" for key in file.metadata if key.startswith(start)}
    if not others:
        return default
    named = {**({} if default is None else {"default": default}), **others}
    return [{"name": name, "template": template} for name, template in named.items()]


def _tokenizer(file: GgufFile, tokens: Sequence[str]) -> dict[str, Any]:
    kind, steps = file.text("tokenizer.ggml.model"), file.text("tokenizer.ggml.pre")
    if len(set(tokens)) < len(tokens):
        raise InputError(f"{file.path}: has a token twice")
    if kind == "gpt2" and steps in _BYTE_LEVEL:
        return _byte_level(file, tokens, _BYTE_LEVEL[steps])
    if kind == "llama" and file.text("general.architecture") == "gemma3":
        return _gemma(file, tokens)
    said = f"of kind {kind!r} with steps {steps!r}"
    raise InputError(
        f"{file.path}: its tokenizer is {said} (tokenizer.ggml.model and .pre), which does not say enough; "
        "name a folder or hub id with the model's tokenizer.json (--tokenizer, or 'tokenizer:' in system.yaml)"
    )


def _byte_level(file: GgufFile, tokens: Sequence[str], steps: _Steps) -> dict[str, Any]:
    merges = [merge.split(" ") for merge in _texts(file, "tokenizer.ggml.merges")]
    if wrong := next((merge for merge in merges if len(merge) != 2), None):
        raise InputError(f"{file.path}: the merge {' '.join(wrong)!r:.60} does not have two parts")
    spelling = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": steps.gpt2}
    pre_tokenizers = [*steps.first, spelling]
    return {
        "version": "1.0",
        "added_tokens": _added(file, tokens),
        "normalizer": steps.normalizer,
        "pre_tokenizer": spelling if not steps.first else {"type": "Sequence", "pretokenizers": pre_tokenizers},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": _bpe(tokens, merges, None, byte_fallback=False, ignore_merges=steps.ignore_merges),
    }


def _gemma(file: GgufFile, tokens: Sequence[str]) -> dict[str, Any]:
    """Gemma's, which writes runs of spaces as underscores.

    Its merges follow from the scores. llama.cpp's converter writes another score for user-defined tokens; SentencePiece
    gives them 0.
    """
    from transformers.tokenization_utils_base import generate_merges

    scores, kinds = file.metadata.get("tokenizer.ggml.scores"), file.metadata.get("tokenizer.ggml.token_type")
    if not (_one_each(scores, tokens) and _one_each(kinds, tokens)):
        raise InputError(f"{file.path}: tokenizer.ggml.scores or .token_type has no entry for each token")

    spelled = ["\u2581" * len(each) if each and not each.strip(" ") else each for each in tokens]
    vocab = {token: index for index, token in enumerate(spelled)}
    if len(vocab) < len(spelled):
        raise InputError(f"{file.path}: has a token twice")
    ranks = dict(zip(spelled, np.where(kinds == _USER_DEFINED, 0, scores).tolist(), strict=True))
    merges = [list(pair) for pair in generate_merges(vocab, ranks)]
    space = {"String": " "}
    return {
        "version": "1.0",
        "added_tokens": _added(file, spelled),
        "normalizer": {"type": "Replace", "pattern": space, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": _bpe(spelled, merges, "<unk>", byte_fallback=True, ignore_merges=False),
    }


def _bpe(
    tokens: Sequence[str], merges: list[list[str]], unknown: str | None, *, byte_fallback: bool, ignore_merges: bool
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": merges,
    }


def _added(file: GgufFile, tokens: Sequence[str]) -> list[dict[str, Any]]:
    """The tokens that are read whole wherever they stand."""
    kinds = file.metadata.get("tokenizer.ggml.token_type")
    if not _one_each(kinds, tokens):
        raise InputError(f"{file.path}: tokenizer.ggml.token_type has no entry for each of its {len(tokens)} tokens")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": index, "content": tokens[index], **flags, "special": bool(kinds[index] == _CONTROL)}
        for index in np.flatnonzero((kinds == _CONTROL) | (kinds == _USER_DEFINED)).tolist()
        if tokens[index]
    ]


def _one_each(values: object, tokens: Sequence[str]) -> TypeGuard[NDArray[Any]]:
    return isinstance(values, np.ndarray) and len(values) == len(tokens)


def _texts(file: GgufFile, key: str) -> list[str]:
    texts = file.metadata.get(key)
    if not isinstance(texts, list):
        raise InputError(f"{file.path}: {key}: a list of texts was expected, it has {type(texts).__name__}")
    return texts
