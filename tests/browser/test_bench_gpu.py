"""`python -m bench gpu` on the software adapter: what it counts is exact, and without an adapter it says so."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench import gpu
from bench._torch import TorchWork, time_agent
from bench._webgpu import Work, step_bytes
from harness.node import NoAdapterError, open_node
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import weights_nbytes
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

from .conftest import CHATTY, SoftwareSchedules

pytestmark = pytest.mark.browser

MODELS: dict[str, dict[str, Any]] = {"Wide-1B": CHATTY, "Narrow-0.5B": {**CHATTY, "hidden_size": 32}}
WORK = Work(steps=(2, 6), tokens=(1, 5), prompt=(8, 72), repeats=1, copied_bytes=1 << 16, copies=1)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory, software_schedules: SoftwareSchedules) -> Iterator[tuple[Any, Any]]:
    """What the two agents took on whatever adapter there is."""
    folder = tmp_path_factory.mktemp("bench-gpu")
    try:
        with open_node(folder):
            pass
    except NoAdapterError as error:
        pytest.skip(f"no WebGPU adapter in Node: {error}")
    with software_schedules():
        yield gpu.time_webgpu(Console(quiet=True), folder, MODELS, "q0f32", WORK, 1e9)


def test_agents_are_timed_over_work_that_is_counted(timed: tuple[Any, Any]) -> None:
    agents, _ = timed
    assert list(agents) == list(MODELS)
    for name, row in agents.items():
        assert row["prompt_tokens"] == 64  # nothing of it was kept from an earlier prompt
        assert 0 < row["decoded_tokens"] <= 4
        least = step_bytes(load_model_config(MODELS[name]), find_scheme("q0f32"))
        assert row["latent_step_bytes"] == least.latent_step(row["positions_of_a_step"])
        assert row["latent_step_share_of_memory_bound"] == pytest.approx(
            row["latent_step_bytes"] / 1e9 * 1000 / row["latent_step_ms"]
        )


def test_rounds_are_timed_with_both_kinds_of_links(timed: tuple[Any, Any]) -> None:
    _, rounds = timed
    assert rounds["latent_steps"] == 6
    assert rounds["compiled_links_ms"] > 0 and rounds["links_in_javascript_ms"] > 0


def test_bytes_of_a_step_are_those_of_the_stored_weights() -> None:
    config, scheme = load_model_config(CHATTY), find_scheme("q0f32")
    least = step_bytes(config, scheme)
    table = 4 * 259 * 48
    assert least.layers + 2 * table == weights_nbytes(param_specs(config), scheme)
    assert least.head == table
    assert least.position == 4 * 2 * 2 * 2 * 16  # float32, layers, keys and values, heads, head size


@pytest.mark.skipif(sys.platform != "linux", reason="Vulkan's variables hide the adapters of Linux alone")
def test_a_machine_without_an_adapter_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))
    with pytest.raises(InputError, match=r"^no WebGPU adapter in Node here .*VK_DRIVER_FILES$"):
        gpu.main(["--out", str(tmp_path / "report.json")])
    assert not (tmp_path / "report.json").exists()


def test_pytorch_is_timed_wherever_it_runs() -> None:
    row = time_agent(
        CHATTY, torch.device("cpu"), TorchWork(prompt=8, steps=3, batch=2, repeats=1, copied_bytes=1 << 16)
    )
    assert row["prefill_tokens_per_second"] > 0 and row["training_tokens_per_second"] > 0
