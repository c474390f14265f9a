"""Small tokenizers with one awkward feature each, for the comparison of their readers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

Json = dict[str, Any]

FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_SPECIAL = ["<unk>", "<s>", "</s>"]
_TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog.",
    "Hello, world! I'm you're don't 123 456 7890 1,000 x != 3",
    "naïve café résumé Übergröße, привет мир, 你好世界 今天",
    "line one\nline two\n\n  indented\ttab print('hello') # comment <think> hm </think> 42",
]
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPM = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


def write(folder: Path, content: Json, config: Mapping[str, Any] = FAST, model_type: str = "llama") -> Path:
    """Writes the files of a checkpoint folder that decide about its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("tokenizer", content), ("tokenizer_config", config), ("config", {"model_type": model_type})):
        (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return folder


def vocab_size(content: Json) -> int:
    """Rows of an embedding table for a tokenizer, and a few more, as many checkpoints have them."""
    ids = [token["id"] for token in content["added_tokens"]]
    return max([len(content["model"]["vocab"]), *(each + 1 for each in ids)]) + 5


def _trained(tokenizer: Tokenizer, trainer: Any, steps: Mapping[str, Any]) -> Json:
    for name, step in steps.items():
        setattr(tokenizer, name, step)
    tokenizer.train_from_iterator(_TEXTS * 4, trainer)
    content: Json = json.loads(tokenizer.to_str())
    return content


def byte_level(pre_tokenizer: Any = None, **steps: Any) -> Json:
    """BPE over bytes, as in GPT-2 and what came after it."""
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    before = plain if pre_tokenizer is None else pre_tokenizers.Sequence([pre_tokenizer, whole])
    return _trained(
        Tokenizer(models.BPE()), trainer, {"pre_tokenizer": before, "decoder": decoders.ByteLevel(), **steps}
    )


def byte_fallback(**steps: Any) -> Json:
    """BPE over characters with a token for each byte, as in Llama 2 and Gemma."""
    model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=_SPECIAL + _BYTES, show_progress=False)
    content = _trained(Tokenizer(model), trainer, {"decoder": _SPM, **steps})
    return content | {"added_tokens": content["added_tokens"][: len(_SPECIAL)]}


def unigram(fallback: bool, **steps: Any) -> Json:
    """A Unigram model over the letters of the texts, some words and, if asked for, bytes."""
    letters = sorted(set("".join(_TEXTS)) - {" "} | {"▁"})
    words = ["▁the", "▁dog", "qu", "ick", "▁1", "23", "in", "ed", "▁▁"]
    vocab = [("<unk>", 0.0), *((word, -4.0) for word in words), *((letter, -7.0) for letter in letters)]
    vocab += [(byte, -20.0) for byte in _BYTES] if fallback else []
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=fallback))
    for name, step in steps.items():
        setattr(tokenizer, name, step)
    content: Json = json.loads(tokenizer.to_str())
    return content


def word_piece(**keys: Any) -> Json:
    """BERT's tokenizer."""
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    steps = {
        "normalizer": normalizers.BertNormalizer(**keys),
        "pre_tokenizer": pre_tokenizers.BertPreTokenizer(),
        "decoder": decoders.WordPiece(),
    }
    return _trained(Tokenizer(models.WordPiece(unk_token="[UNK]")), trainer, steps)


def words(pre_tokenizer: Any, model: Any = models.BPE, **keys: Any) -> Json:
    """A model over words, without a decoder."""
    trainer = {models.BPE: trainers.BpeTrainer, models.WordLevel: trainers.WordLevelTrainer}[model]
    return _trained(
        Tokenizer(model(unk_token="<unk>", **keys)),
        trainer(special_tokens=_SPECIAL, show_progress=False),
        {"pre_tokenizer": pre_tokenizer},
    )


def added(content: Json, *tokens: Mapping[str, Any]) -> Json:
    """With further added tokens, which are plain unless they say otherwise."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    first = vocab_size(content) - 5
    more = [plain | {"id": first + index, **token} for index, token in enumerate(tokens)]
    return content | {"added_tokens": [*content["added_tokens"], *more]}


def _kinds(content: Json) -> Json:
    """With an added token of each kind."""
    names = ("lstrip", "rstrip", "normalized", "special")
    kinds = [{"content": f"<{name}>", name: True} for name in names]
    kinds += [{"content": f"<n-{name}>", name: True, "normalized": True} for name in names]
    return added(
        content,
        *kinds,
        {"content": "<plain>"},
        {"content": "<plain><plain>"},
        {"content": "wordy", "single_word": True},
        {"content": "Ünï ©ode", "normalized": True},
        {"content": "   ", "normalized": True},
    )


_SPLIT = pre_tokenizers.Split
_METASPACE = pre_tokenizers.Metaspace
_CLEAN = {"clean_up_tokenization_spaces": True}
_INSIST = {"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True}


def _legacy() -> Json:
    steps = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return byte_fallback(normalizer=steps)


def _with_model(content: Json, **keys: Any) -> Json:
    return content | {"model": content["model"] | keys}


EQUAL: dict[str, tuple[Callable[[], Json], Mapping[str, Any]]] = {
    "byte-level": (byte_level, FAST),
    "clean-up true": (byte_level, FAST | _CLEAN),
    "clean-up insisted on": (byte_level, FAST | _CLEAN | _INSIST),
    "clean-up of WordPiece": (word_piece, FAST | _CLEAN),
    "prefix space": (lambda: byte_level(pre_tokenizer=None) | _prefix_space(), FAST),
    "llama 3": (lambda: _with_model(byte_level(_SPLIT(Regex(_LLAMA_3), "isolated")), ignore_merges=True), FAST),
    "digits one by one": (lambda: byte_level(pre_tokenizers.Digits(individual_digits=True)), FAST),
    "digits together": (lambda: byte_level(pre_tokenizers.Digits()), FAST),
    "regular expression": (lambda: byte_level(_SPLIT(Regex(r"\w+|\d|\s+|[^\w\s]"), "isolated")), FAST),
    **{
        f"split {behavior}": (lambda behavior=behavior: byte_level(_SPLIT(Regex(r"[\s.,]"), behavior)), FAST)
        for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous")
    },
    "split at text": (lambda: byte_level(_SPLIT(" ", "merged_with_next")), FAST),
    "punctuation": (lambda: byte_level(pre_tokenizers.Punctuation("contiguous")), FAST),
    "NFC": (lambda: byte_level(normalizer=normalizers.NFC()), FAST),
    "NFKC": (lambda: byte_level(normalizer=normalizers.NFKC()), FAST),
    "lower case": (lambda: byte_level(normalizer=normalizers.Lowercase()), FAST),
    "strip": (lambda: byte_level(normalizer=normalizers.Strip()), FAST),
    "replaced by dollars": (lambda: byte_level(normalizer=normalizers.Replace("$", "$$ $&")), FAST),
    "llama 2 legacy": (_legacy, FAST),
    "gemma": (
        lambda: byte_fallback(
            normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=_SPLIT(" ", "merged_with_previous")
        ),
        FAST,
    ),
    "metaspace first": (lambda: byte_fallback(pre_tokenizer=_METASPACE(prepend_scheme="first", split=False)), FAST),
    "metaspace always": (lambda: byte_fallback(pre_tokenizer=_METASPACE(prepend_scheme="always")), FAST),
    "metaspace decoder": (
        lambda: byte_fallback(pre_tokenizer=_METASPACE(), decoder=decoders.Metaspace()),
        FAST,
    ),
    "unigram with bytes": (lambda: unigram(True, pre_tokenizer=_METASPACE(), decoder=_SPM), FAST),
    "unigram": (lambda: unigram(False, pre_tokenizer=_METASPACE(), decoder=decoders.Metaspace()), FAST),
    "word piece": (word_piece, FAST),
    "word piece, cased": (lambda: word_piece(lowercase=False, handle_chinese_chars=False), FAST),
    "white space": (lambda: words(pre_tokenizers.Whitespace()), FAST),
    "split at white space": (lambda: words(pre_tokenizers.WhitespaceSplit(), fuse_unk=True), FAST),
    "added to byte-level": (lambda: _kinds(byte_level()), FAST),
    "added over a prepended mark": (lambda: _kinds(_legacy()), FAST),
    "added over metaspace first": (
        lambda: _kinds(byte_fallback(pre_tokenizer=_METASPACE(prepend_scheme="first", split=False))),
        FAST,
    ),
    "added to lower case": (lambda: _kinds(byte_level(normalizer=normalizers.Lowercase())), FAST),
    "padding and truncation": (lambda: byte_level() | _padding(), FAST),
    "special in the configuration": (lambda: added(byte_level(), {"content": "<eos>"}), FAST | {"eos_token": "<eos>"}),
    "beginning added by the model": (byte_level, FAST | {"add_bos_token": True, "bos_token": "<s>"}),
    "unknown class": (byte_level, {"tokenizer_class": "NobodysTokenizer"}),
}
"""Tokenizers and configurations that all readers agree about."""

REFUSED: dict[str, tuple[Callable[[], Json], Mapping[str, Any], str]] = {
    "special tokens in the configuration only": (
        byte_level,
        FAST | {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
        r"transformers reads '<\|im_start\|>.*' as \['<\|im_start\|>', .*\] and tokenizer.json as \['<', '\|', .*"
        r"save_pretrained",
    ),
    "added tokens in the configuration only": (
        byte_level,
        FAST | {"added_tokens_decoder": {"900": {"content": "<x>", "special": True}}},
        r"transformers reads '<x>' as \['<x>'\] and tokenizer.json as \['<', 'x', '>'\]",
    ),
    "a class that builds its own": (
        _legacy,
        {"tokenizer_class": "LlamaTokenizer"},
        r"transformers reads ' ' as \['▁'\] and tokenizer.json as \['▁▁'\]",
    ),
    "special tokens spelled out": (
        byte_level,
        FAST | {"split_special_tokens": True},
        r"transformers reads '<s>' as \['<', 's', '>'\] and tokenizer.json as \['<s>'\]",
    ),
    "code of its own": (
        byte_level,
        {"auto_map": {"AutoTokenizer": ["tokenization.Own", None]}},
        "transformers cannot read the tokenizer: .*custom code",
    ),
    "duplicate": (
        lambda: added(byte_level(), {"content": "<twice>"}, {"content": "<twice>"}),
        FAST,
        "added token '<twice>' is duplicated",
    ),
    "normaliser that the page lacks": (
        lambda: byte_level(normalizer=normalizers.Nmt()),
        FAST,
        r"the page cannot load it \(Unknown Normalizer type: Nmt\)",
    ),
    "model that the page lacks": (
        lambda: words(pre_tokenizers.WhitespaceSplit(), models.WordLevel),
        FAST,
        r"transformers reads .* as \[.*\] and the page as \[.*\]; the page has no reader for this kind of tokenizer",
    ),
    "prefix inside words": (
        lambda: _with_model(byte_level(), merges=[], continuing_subword_prefix="##"),
        FAST,
        "transformers reads .* and the page as",
    ),
    "no token for the unknown": (
        lambda: _with_model(word_piece(), unk_token="[NONE]"),
        FAST,
        "cannot read every text: .*Missing",
    ),
    "dropout": (lambda: _with_model(byte_level(), dropout=0.5), FAST, "draws the tokens by lot"),
}
"""Tokenizers and configurations with what the refusal says."""


def _prefix_space() -> Json:
    step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {"pre_tokenizer": step}


def _padding() -> Json:
    return {
        "padding": {
            "strategy": {"Fixed": 8},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<unk>",
        },
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
    }
