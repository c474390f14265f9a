"""Compares libraries of the backend `mlc` in Chromium with ours, and with transformers if kernels need a GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from harness.libraries import Libraries, open_libraries
from recursivemas.architectures.cpu_model import relative_error
from recursivemas.architectures.parity import reference, save_random_checkpoint
from recursivemas.architectures.samples import sample_config
from recursivemas.compiler.backends import prepare
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.mlc.importing import Mlc
from recursivemas.system.quantize import SCHEMES

pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHARED = ("llama", "mistral", "qwen2", "qwen3", "qwen3_5_text")
GPU_ONLY = ("gemma2", "mixtral", "qwen2_moe", "qwen3_5", "qwen3_moe")
"""Families some of whose kernels, or of our changes to kernels, are for a GPU alone."""

IDS = np.random.default_rng(1).integers(3, 150, size=20).astype(np.int32)
# A prefill, a step and another prefill; together more than a page of the KV cache.
PIECES = ((0, 13), (13, 14), (14, 20))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def libraries(chromium: Browser, files: Path) -> Iterator[Libraries]:
    with open_libraries(chromium, files) as opened:
        yield opened


def _checkpoint(architecture: str, folder: Path) -> Checkpoint:
    config = sample_config(architecture)
    assert config is not None
    save_random_checkpoint(config, folder)
    return Checkpoint(folder)


def _in_the_page(libraries: Libraries, checkpoint: Checkpoint, backend: str, folder: Path) -> list[NDArray[Any]]:
    """Input embeddings (T, D), hidden states (T, D) and logits (T, V) of `IDS`."""
    folder.mkdir()
    prepared = prepare(checkpoint, SCHEMES["q0f32"], backend)
    prepared.write_weights(folder, lambda done, total: None)
    wasm = folder / "library.wasm"
    prepared.compile_library(wasm, lambda line: None)
    library = libraries.load(wasm)
    params = library.params(folder)
    embed = library.call("embed", IDS, params)
    cache = library.kv_cache()
    parts = [cache.forward("get_last_hidden", embed[None, start:end], params)[0] for start, end in PIECES]
    hidden = np.concatenate(parts)
    # decode uses the function for one position, which may take another path through a mixture.
    again = library.kv_cache()
    again.forward("prefill", embed[None, :-1], params)
    decoded = again.forward("decode", embed[None, -1:], params)[0]
    logits = library.call("lm_head", hidden, params)
    assert relative_error(decoded, logits[-1:]) < 1e-4
    library.unload()
    return [embed, hidden, logits]


@pytest.mark.parametrize("architecture", SHARED)
def test_both_backends_compute_the_same_hidden_states(
    mlc: Mlc, libraries: Libraries, files: Path, architecture: str
) -> None:
    checkpoint = _checkpoint(architecture, files / f"{architecture}-checkpoint")
    ours, theirs = (
        _in_the_page(libraries, checkpoint, backend, files / f"{architecture}-{backend}")
        for backend in ("relax", "mlc")
    )
    for a, b in zip(theirs, ours, strict=True):
        assert relative_error(a, b) <= 1e-4


@pytest.mark.parametrize("architecture", GPU_ONLY)
def test_what_a_gpu_alone_runs_equals_transformers(
    mlc: Mlc, libraries: Libraries, files: Path, architecture: str
) -> None:
    checkpoint = _checkpoint(architecture, files / f"{architecture}-checkpoint")
    found = _in_the_page(libraries, checkpoint, "mlc", files / f"{architecture}-mlc")
    for a, b in zip(found, reference(checkpoint.folder, IDS), strict=True):
        assert relative_error(a, b) <= 1e-4
