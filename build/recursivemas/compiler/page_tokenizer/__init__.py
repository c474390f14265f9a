"""Compares the page's reading of a tokenizer with transformers': `rmas compile` refuses what differs.

The page's reader runs here in Node. `probe.cjs` holds this project's part of it, written by `make generate` from the
page's sources. The library that it needs comes from npm once, at the version and with the checksum of
`package-lock.json`; in a checkout `web/node_modules` has it already.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from recursivemas.system import probe_texts
from recursivemas.system.atomic import scratch_folder
from recursivemas.system.cache import damage, kind_folder, remove, seal
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, write_text_atomic
from recursivemas.system.tokenizer import (
    ProbedTokenizer,
    decode,
    difference,
    excerpt,
    probe_tokenizer,
    read_tokenizer_json,
    special_flags,
)

_HERE = Path(__file__).parent
_LIBRARY = "@huggingface/tokenizers"
_CHECKOUT = _HERE.parents[3] / "web/node_modules"
_TIMEOUT_S = 600
_SWEEP = 32
"""Ids in a list of the sweep over the vocabulary."""


def compare_with_page(folder: Path, vocab_size: int) -> Mapping[int, str]:
    """Compares `AutoTokenizer`, `tokenizer.json` and the page's reader by the texts and ids of the probe.

    What was found equal is remembered in the cache, by the digest of everything that the comparison depends on.

    Args:
        folder: The checkpoint folder.
        vocab_size: Rows of the model's embedding table: ids that the page may have to decode.

    Returns:
        The special tokens by id: those that transformers leaves out of decoded text.

    Raises:
        InputError: They differ, the page cannot load the tokenizer, or Node is missing.
    """
    remembered = kind_folder("tokenizers") / f"{_digest(folder, vocab_size)}.json"
    if damage(remembered) is None:
        special: dict[str, str] = read_json(remembered, "comparison of tokenizers")
        return {int(token_id): token for token_id, token in special.items()}
    node = find_node()
    probed = probe_tokenizer(folder)
    _compare(folder, probed, vocab_size, node)
    write_text_atomic(remembered, json.dumps(probed.special_tokens))
    seal(remembered)
    return probed.special_tokens


def page_tokenizer_json(folder: Path, special: Mapping[int, str]) -> str | None:
    """`tokenizer.json` as the page should get it; None if the checkpoint's own file will do.

    The page knows special tokens by their mark in the file, while transformers takes some from the configuration.

    Args:
        folder: The checkpoint folder.
        special: The special tokens by id, from `compare_with_page`.
    """
    content, tokenizer = read_tokenizer_json(folder / "tokenizer.json")
    added = tokenizer.get_added_tokens_decoder()
    if {token_id: token.content for token_id, token in added.items() if token.special} == dict(special):
        return None
    return json.dumps(special_flags(content, special.values()), ensure_ascii=False)


def minimum_node() -> tuple[int, int]:
    """The oldest Node that compiling works with, which web/package.json names for the whole project."""
    engines = json.loads((_HERE / "package.json").read_text(encoding="utf-8"))["engines"]
    major, minor = engines["node"].removeprefix(">=").split(".")
    return int(major), int(minor)


def find_node() -> Path:
    """Finds Node on the PATH.

    Raises:
        InputError: There is none, or it is older than `minimum_node`.
    """
    minimum = minimum_node()
    wanted = ".".join(map(str, minimum))
    remedy = "compiling compares the page's tokenizer with transformers' in it; install it from nodejs.org"
    program = shutil.which("node")
    if program is None:
        raise InputError(f"Node.js (node {wanted} or newer) is not on the PATH; {remedy}")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    version = re.match(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < minimum:
        raise InputError(f"{program} is version {said or 'unknown'}, older than {wanted}; {remedy}")
    return Path(program)


def _compare(folder: Path, probed: ProbedTokenizer, vocab_size: int, node: Path) -> None:
    path = folder / "tokenizer.json"
    config = folder / "tokenizer_config.json"
    ids = [*_halves(probed.ids), *_sweeps(vocab_size)]
    answer = _run(
        node,
        {
            "tokenizer": page_tokenizer_json(folder, probed.special_tokens) or path.read_text(encoding="utf-8"),
            "config": config.read_text(encoding="utf-8") if config.is_file() else None,
            "texts": probed.texts,
            "ids": ids,
        },
    )
    if "error" in answer:
        reason = str(answer["error"]).removeprefix("agent 'agent': its tokenizer.json cannot be read ")
        raise InputError(f"{path}: the page cannot load it {reason}; no agent in a browser can use this tokenizer")
    whose = "the page"
    remedy = "the page has no reader for this kind of tokenizer"
    name_of = probed.tokenizer.convert_ids_to_tokens
    for text, ours, theirs in zip(probed.texts, probed.ids, answer["encoded"], strict=True):
        if ours != theirs:
            raise InputError(f"{path}: {difference(text, name_of, ours, theirs, whose)}; {remedy}")
    sequences = [*probed.ids, *ids]
    decoded = decode(probed.tokenizer, sequences)
    for sequence, written, shown in zip(sequences, decoded, answer["decoded"], strict=True):
        if written != shown:
            raise InputError(
                f"{path}: transformers decodes the tokens {name_of(sequence[:12])} as {excerpt(written)} "
                f"and the page as {excerpt(shown)}; {remedy}"
            )


def _halves(encoded: tuple[list[int], ...]) -> list[list[int]]:
    """Beginnings of texts, which may end inside a character."""
    return [ids[: len(ids) // 2] for ids in encoded if 1 < len(ids) < 64]


def _sweeps(vocab_size: int) -> list[list[int]]:
    """Every id once in order, and lists of ids from all over the vocabulary; some are beyond it."""
    in_order = [list(range(first, min(first + _SWEEP, vocab_size))) for first in range(0, vocab_size, _SWEEP)]
    scattered = [[(7919 * row + 104729 * column) % vocab_size for column in range(24)] for row in range(200)]
    return [*in_order, *scattered, [vocab_size], [vocab_size + 1, 0, vocab_size + 100]]


def _run(node: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the page's reader.

    Raises:
        InputError: It takes too long.
    """
    environment = {**os.environ, "NODE_PATH": str(_library())}
    try:
        result = subprocess.run(
            [node, _HERE / "probe.cjs"],
            input=json.dumps(job).encode(),
            env=environment,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"the page's tokenizer took more than {_TIMEOUT_S} s for the probe; it is too slow") from None
    if result.returncode != 0:
        raise RuntimeError(f"the page's tokenizer failed in Node:\n{result.stderr.decode(errors='replace')[-8000:]}")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _library() -> Path:
    """The folder of npm packages that has the library; it is installed into the cache if it has to be."""
    wanted = json.loads((_HERE / "package.json").read_text(encoding="utf-8"))["dependencies"][_LIBRARY]
    manifest = _CHECKOUT / _LIBRARY / "package.json"
    if manifest.is_file() and read_json(manifest, "npm package").get("version") == wanted:
        return _CHECKOUT
    key = hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = kind_folder("npm") / key
    if damage(folder):
        with FileLock(folder.with_name(f"{key}.lock")):
            if damage(folder):
                remove(folder)
                _install(folder, wanted)
                seal(folder)
    return folder / "node_modules"


def _install(folder: Path, version: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm is not on the PATH; it comes with Node.js (nodejs.org)")
    with scratch_folder(folder.parent, ".installing") as scratch:
        made = scratch / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(_HERE / name, made / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        result = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            said = " ".join(result.stderr.split())[:300]
            raise InputError(
                f"npm cannot install {_LIBRARY} {version}, which compiling needs once on a machine: {said}"
            )
        made.rename(folder)


def _digest(folder: Path, vocab_size: int) -> str:
    """Over everything that the comparison depends on: the checkpoint's small files and the readers' versions."""
    digest = hashlib.sha256(str(vocab_size).encode())
    for package in ("transformers", "tokenizers"):
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    small = [path for suffix in ("json", "model", "txt", "tiktoken") for path in sorted(folder.glob(f"*.{suffix}"))]
    for path in (_HERE / "probe.cjs", _HERE / "package-lock.json", Path(probe_texts.__file__), *small):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
