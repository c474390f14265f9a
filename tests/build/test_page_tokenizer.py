"""Tokenizers mean the same in transformers and in the page, or are refused.

`RMAS_TOKENIZERS` names a folder of published tokenizers, which `python -m harness.published_tokenizers` fills, and
`LLAMA_CPP_DIR` a copy of ggml-org/llama.cpp.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from recursivemas.compiler import page_tokenizer
from recursivemas.compiler.page_tokenizer import compare_with_page, find_node, page_tokenizer_json
from recursivemas.system.errors import InputError
from recursivemas.system.probe_texts import probe_texts
from recursivemas.system.tokenizer import load_tokenizer
from tests.build.made_tokenizers import EQUAL, FAST, REFUSED, byte_level, vocab_size, write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMAS_CACHE_DIR", str(tmp_path / "cache"))


def test_probe_texts_are_many_and_reach_the_added_tokens() -> None:
    texts = set(probe_texts(["<own>"]))
    assert len(texts) > 300
    assert {"", "<own>", "a<own>b"} <= texts
    assert max(map(len, texts)) > 3000


@pytest.mark.parametrize("name", EQUAL)
def test_compare_with_page_equal(name: str, tmp_path: Path) -> None:
    make, config = EQUAL[name]
    content = make()
    special = compare_with_page(write(tmp_path / "model", content, config), vocab_size(content))
    assert set(special.values()) >= {token["content"] for token in content["added_tokens"] if token["special"]}


@pytest.mark.parametrize("name", REFUSED)
def test_compare_with_page_refuses(name: str, tmp_path: Path) -> None:
    make, config, message = REFUSED[name]
    content = make()
    folder = write(tmp_path / "model", content, config)
    with pytest.raises(InputError, match=message) as refusal:
        compare_with_page(folder, vocab_size(content))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "cache" / "tokenizers").exists()


def test_compare_with_page_says_where_the_page_decodes_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = byte_level()
    answer = page_tokenizer._run

    def wrong(node: Path, job: dict[str, object]) -> dict[str, list[object]]:
        right = answer(node, job)
        return right | {"decoded": ["?", *right["decoded"][1:]]}

    monkeypatch.setattr(page_tokenizer, "_run", wrong)
    folder = write(tmp_path / "model", content)
    with pytest.raises(InputError, match=r"transformers decodes the tokens \[\] as '' and the page as '\?'"):
        compare_with_page(folder, vocab_size(content))


def test_compare_with_page_remembers_what_was_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = byte_level()
    folder = write(tmp_path / "model", content)
    special = compare_with_page(folder, vocab_size(content))
    monkeypatch.setattr(page_tokenizer, "find_node", lambda: pytest.fail("compared again"))
    assert compare_with_page(folder, vocab_size(content)) == special
    write(folder, content, FAST | {"model_max_length": 7})
    with pytest.raises(pytest.fail.Exception):
        compare_with_page(folder, vocab_size(content))


def test_page_tokenizer_json_marks_special_tokens_as_transformers_does(tmp_path: Path) -> None:
    make, config = EQUAL["special in the configuration"]
    folder = write(tmp_path / "model", make(), config)
    special = compare_with_page(folder, vocab_size(make()))
    assert "<eos>" in special.values()
    marked = page_tokenizer_json(folder, special)
    assert marked is not None
    assert [token["special"] for token in json.loads(marked)["added_tokens"]] == [True] * 4
    (folder / "tokenizer.json").write_text(marked, encoding="utf-8")
    assert page_tokenizer_json(folder, special) is None


def test_find_node_says_that_it_is_missing_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"Node.js \(node 20.19 or newer\) is not on the PATH; compiling"):
        find_node()
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.4.0\n", encoding="utf-8")
    old.chmod(0o755)
    with pytest.raises(InputError, match=r"node is version v18.4.0, older than 20.19"):
        find_node()


def test_library_is_installed_from_npm_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_tokenizer, "_CHECKOUT", tmp_path)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text('#!/bin/sh\n[ "$1" = ci ] && [ -f package-lock.json ] && mkdir node_modules\n', encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    assert page_tokenizer._library().is_dir()
    shutil.rmtree(tmp_path / "cache")
    npm.write_text("#!/bin/sh\necho 'no network' >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"npm cannot install @huggingface/tokenizers .*: no network"):
        page_tokenizer._library()


def test_load_tokenizer_is_transformers(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", byte_level())
    tokenizer = load_tokenizer(folder)
    assert type(tokenizer).__name__ == "TokenizersBackend"
    assert tokenizer.decode(tokenizer("x !=3")["input_ids"]) == "x !=3"


_ACCEPTED = (
    *("deepseek", "falcon", "gemma", "gpt2", "gpt35", "gpt_neox", "gptoss", "llama3", "mistral", "modernbert"),
    *("phi-2", "phi-3", "qwen3", "smollm2", "starcoder"),
)
"""Parts of the names of published tokenizers that agents must be able to use."""


def _collected() -> list[Path]:
    named = os.environ.get("RMAS_TOKENIZERS")
    return sorted(path.parent for path in Path(named).glob("*/tokenizer.json")) if named else []


@pytest.mark.slow
@pytest.mark.skipif(not _collected(), reason="RMAS_TOKENIZERS names no folder of tokenizers")
@pytest.mark.parametrize("folder", _collected(), ids=lambda path: path.name)
def test_published_tokenizer_is_equal_or_refused(folder: Path) -> None:
    try:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        compare_with_page(folder, vocab_size(content))
    except InputError as refusal:
        assert "\n" not in str(refusal)
        assert not any(name in folder.name for name in _ACCEPTED), refusal
        print(refusal)


def _vocabularies() -> list[Path]:
    named = os.environ.get("LLAMA_CPP_DIR")
    return sorted(Path(named).glob("models/ggml-vocab-*.gguf")) if named else []


@pytest.mark.slow
@pytest.mark.skipif(not _vocabularies(), reason="LLAMA_CPP_DIR names no copy of llama.cpp")
@pytest.mark.parametrize("path", _vocabularies(), ids=lambda path: path.stem)
def test_vocabulary_of_llama_cpp_is_equal_or_refused(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="reading these vocabularies needs the package gguf")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / path.stem
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except ValueError as error:
        pytest.skip(str(error))
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    try:
        compare_with_page(folder, vocab_size(content))
    except InputError as refusal:
        # The GGUF file does not say that Qwen's tokenizer normalises, but transformers does it in any case.
        assert path.stem == "ggml-vocab-qwen2", refusal
