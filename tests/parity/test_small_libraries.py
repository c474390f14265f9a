"""A library that is linked for its size computes the same as one that is not, and is smaller."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from harness.libraries import Libraries
from harness.tiny_models import CASES
from recursivemas.compiler.checkpoint import read_config
from recursivemas.compiler.library import SMALLEST, compile_library
from recursivemas.compiler.models import load_model_config
from recursivemas.system.quantize import find_scheme
from tests.parity.conftest import MakeAgent

pytestmark = pytest.mark.browser


def test_small_library_computes_the_same_to_the_bit(libraries: Libraries, files: Path, make_agent: MakeAgent) -> None:
    agent = make_agent(CASES[1])
    folder = files / f"{CASES[1].name}-q0f32-software-None"  # where `make_agent` put it
    config = load_model_config(read_config(folder / "checkpoint"), prefill_chunk_size=64)
    out = compile_library(config, find_scheme("q0f32"), files / "small.wasm", schedule="software", optimise=SMALLEST)
    small = libraries.load(out)
    assert small.metadata == agent.library.metadata
    width = small.metadata["recursivemas"]["hidden_size"]
    embed = np.random.default_rng(5).normal(size=(1, 21, width)).astype(np.float32)
    states = []
    for library, params in ((agent.library, agent.params), (small, small.params(folder))):
        cache = library.kv_cache()
        prompt = cache.forward("get_last_hidden", embed[:, :20], params)
        states.append(np.concatenate([prompt, cache.forward("prefill", embed[:, 20:], params)], axis=None))
    np.testing.assert_array_equal(states[1], states[0])
    sizes = [len(gzip.compress(each.read_bytes(), 9)) for each in (folder / "library.wasm", out)]
    assert sizes[1] < 0.95 * sizes[0]
