"""Tokenizers: which facts are read, and which tokenizers are refused."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from harness.random_checkpoint import SPECIAL_TOKENS, _write_tokenizer
from recursivemas.compiler.tokenizer import read_tokenizer
from recursivemas.system.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write_tokenizer(tmp_path)
    return tmp_path


def test_read_tokenizer_byte_level(folder: Path) -> None:
    facts = read_tokenizer(folder, 259)
    assert facts.size == 259
    assert facts.special_ids == dict(zip(SPECIAL_TOKENS, (256, 257, 258), strict=True))
    assert facts.files == ("tokenizer.json", "tokenizer_config.json")
    assert facts.mlc_info() == {
        "token_postproc_method": "byte_level",
        "prepend_space_in_encode": False,
        "strip_space_in_decode": False,
    }


def test_read_tokenizer_byte_fallback_as_llama_2_has_it(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"<unk>": 0, "a": 1}, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    facts = read_tokenizer(tmp_path, 3)
    assert facts.files == ("tokenizer.json",)
    assert facts.mlc_info() == {
        "token_postproc_method": "byte_fallback",
        "prepend_space_in_encode": True,
        "strip_space_in_decode": True,
    }


def test_read_tokenizer_refuses_ids_the_model_lacks(folder: Path) -> None:
    with pytest.raises(InputError, match=r"token ids go up to 258, but the model's vocabulary .* has 258 rows"):
        read_tokenizer(folder, 258)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"version": "1.0"}', "not a tokenizer that the tokenizers library can read"),
        (json.dumps({"added_tokens": [{"content": "x"}, {"content": "x"}]}), "added token 'x' is duplicated"),
    ],
)
def test_read_tokenizer_refuses_broken_files(folder: Path, text: str, message: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_tokenizer(folder, 300)


def test_read_tokenizer_refuses_none_and_older_formats(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no such tokenizer; copy the one that belongs to the checkpoint"):
        read_tokenizer(folder, 300)
    (folder / "tokenizer.model").write_bytes(b"")
    with pytest.raises(InputError, match=r"there is only tokenizer.model; write it with AutoTokenizer"):
        read_tokenizer(folder, 300)
