"""Compiles tiny models and loads them into one page of one browser."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import Browser

from harness.libraries import Libraries, Library, Ref, open_libraries
from harness.tiny_models import CASES, Case, make_model, quantize_in_place, save
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.pipeline import Schedule
from recursivemas.compiler.weights import write_weights
from recursivemas.system.quantize import find_scheme
from tests.parity.emulated_subgroups import emulated_subgroups


@dataclass(frozen=True)
class Agent:
    """A tiny model, compiled in the page and in PyTorch with the same (dequantized) weights.

    Attributes:
        library: In the page.
        params: Its packed parameters, uploaded.
        model: float32, eager attention.
    """

    library: Library
    params: Ref
    model: torch.nn.Module

    def hidden_states(self, embed: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, T, D) to (1, T, D) in PyTorch, from an empty cache."""
        with torch.no_grad():
            states = self.model.model(inputs_embeds=torch.from_numpy(embed), use_cache=False).last_hidden_state
        array: NDArray[np.float32] = states.numpy()
        return array

    def logits(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., D) to (..., V) in PyTorch."""
        with torch.no_grad():
            array: NDArray[np.float32] = self.model.lm_head(torch.from_numpy(hidden)).numpy()
        return array


MakeAgent = Callable[..., Agent]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page fetches files from."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def libraries(chromium: Browser, files: Path) -> Iterator[Libraries]:
    """The page."""
    with open_libraries(chromium, files) as opened:
        yield opened


@pytest.fixture(scope="session")
def make_agent(libraries: Libraries, files: Path) -> MakeAgent:
    """Compiles a case once per scheme and schedule."""
    torch.set_num_threads(1)
    made: dict[tuple[str, ...], Agent] = {}

    def make(
        case: Case,
        quantization: str = "q0f32",
        schedule: Schedule = "software",
        subgroup_size: int | None = None,
    ) -> Agent:
        key = (case.name, quantization, schedule, str(subgroup_size))
        if key not in made:
            folder = files / "-".join(key)
            folder.mkdir()
            model = make_model(case)
            chunk = min(64, case.shape.get("sliding_window") or 64)
            config = load_model_config(save(model, folder / "checkpoint"), prefill_chunk_size=chunk)
            scheme = find_scheme(quantization)
            write_weights(Checkpoint(folder / "checkpoint"), param_specs(config), scheme, folder)
            wasm = compile_library(
                config, scheme, folder / "library.wasm", schedule=schedule, subgroup_size=subgroup_size
            )
            if scheme.group:
                quantize_in_place(model)
            emulated = subgroup_size is not None and subgroup_size > libraries.adapter["subgroup_size"]
            with emulated_subgroups(libraries) if emulated else nullcontext():
                library = libraries.load(wasm)
            made[key] = Agent(library, library.params(folder), model)
        return made[key]

    return make


@pytest.fixture(scope="session")
def any_agent(make_agent: MakeAgent) -> Agent:
    """One model, for tests that do not depend on the family."""
    return make_agent(CASES[1])
