"""`python -m bench gpu` on the software adapter: what it counts is exact, and without an adapter it says so."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from bench import gpu
from bench._torch import TorchWork, time_agent
from bench._webgpu import Work, chain_folder, step_bytes
from harness.engine_node import open_engine
from harness.node import NoAdapterError, open_node
from harness.tiny_models import relative
from recursivemas.compiler.models import load_model_config, param_specs
from recursivemas.compiler.weights import weights_nbytes
from recursivemas.mlc.tree import find_mlc
from recursivemas.system.errors import InputError
from recursivemas.system.quantize import find_scheme

from .conftest import CHATTY, SoftwareSchedules

pytestmark = pytest.mark.browser

_WIDE = {**CHATTY, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0}  # MLC-LLM asks for these keys
MODELS: dict[str, dict[str, Any]] = {"Wide-1B": _WIDE, "Narrow-0.5B": {**_WIDE, "hidden_size": 32}}
WORK = Work(steps=(2, 6), tokens=(1, 5), prompt=(8, 72), repeats=1, copied_bytes=1 << 16, copies=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two agents are built."""
    return tmp_path_factory.mktemp("bench-gpu")


@pytest.fixture(scope="module")
def timed(folder: Path, software_schedules: SoftwareSchedules) -> dict[str, Any]:
    """What the two agents took on whatever adapter there is."""
    try:
        with open_node(folder):
            pass
    except NoAdapterError as error:
        pytest.skip(f"no WebGPU adapter in Node: {error}")
    with software_schedules():
        return gpu.time_webgpu(Console(quiet=True), folder, MODELS, "q0f32", WORK, 1e9)


def check_agents(agents: dict[str, Any]) -> None:
    """Times are of work that is counted."""
    assert list(agents) == list(MODELS)
    for name, row in agents.items():
        assert row["prompt_tokens"] == 64  # nothing of it was kept from an earlier prompt
        assert 0 < row["decoded_tokens"] <= 4
        least = step_bytes(load_model_config(MODELS[name]), find_scheme("q0f32"))
        assert row["latent_step_bytes"] == least.latent_step(row["positions_of_a_step"])
        assert row["latent_step_share_of_memory_bound"] == pytest.approx(
            row["latent_step_bytes"] / 1e9 * 1000 / row["latent_step_ms"]
        )


def test_agents_are_timed_over_work_that_is_counted(timed: dict[str, Any]) -> None:
    check_agents(timed["agents"])


def test_rounds_are_timed_with_both_kinds_of_links(timed: dict[str, Any]) -> None:
    rounds = timed["rounds"]
    assert rounds["latent_steps"] == 6
    assert rounds["compiled_links_ms"] > 0 and rounds["links_in_javascript_ms"] > 0
    assert rounds["links_in_javascript_to_compiled_links"] == pytest.approx(
        rounds["links_in_javascript_ms"] / rounds["compiled_links_ms"]
    )


def test_webllm_library_is_timed_where_its_sources_are(timed: dict[str, Any]) -> None:
    peer, rounds = timed["webllm_library"], timed["rounds"]
    if find_mlc() is None:
        assert peer == "not measured: MLC_LLM_SOURCE_DIR names no sources of MLC-LLM"
        assert not any("webllm" in key for key in rounds)
        return
    assert "definitions" in peer["version"]
    check_agents(peer["agents"])
    assert rounds["webllm_library_to_compiled_links"] == pytest.approx(
        rounds["webllm_library_ms"] / rounds["compiled_links_ms"]
    )


@pytest.mark.skipif(find_mlc() is None, reason="MLC_LLM_SOURCE_DIR is not set")
def test_webllm_library_that_is_timed_computes_the_same(timed: dict[str, Any], folder: Path) -> None:
    assert timed["webllm_library"]["agents"]
    came, backends = [], []
    for backend in ("auto", "mlc"):
        system = chain_folder(folder, backend)
        backends += [json.loads(path.read_text("utf-8")) for path in sorted(system.rglob("mlc-chat-config.json"))]
        with open_engine(folder / "harness", system.parent) as engine:
            engine.load(system, fewCalls=backend == "auto")
            came.append(engine.run("a question", rounds=1, latentSteps=6, trace={"handoffs": True})["handoffs"])
    assert [each["recursivemas"]["backend"] for each in backends] == ["relax", "relax", "mlc", "mlc"]
    ours, theirs = ([np.array(each["states"]["data"]) for each in handoffs] for handoffs in came)
    assert ours
    for one, other in zip(ours, theirs, strict=True):
        assert relative(other, one) < 1e-4


def test_bytes_of_a_step_are_those_of_the_stored_weights() -> None:
    config, scheme = load_model_config(CHATTY), find_scheme("q0f32")
    least = step_bytes(config, scheme)
    table = 4 * 259 * 48
    assert least.layers + 2 * table == weights_nbytes(param_specs(config), scheme)
    assert least.head == table
    assert least.position == 4 * 2 * 2 * 2 * 16  # float32, layers, keys and values, heads, head size


@pytest.fixture
def no_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides every WebGPU adapter from Node."""
    if sys.platform != "linux":
        pytest.skip("Vulkan's variables hide the adapters of Linux alone")
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))


@pytest.mark.usefixtures("no_adapter")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA, whose half would run")
def test_a_machine_without_an_adapter_and_cuda_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no WebGPU adapter in Node here .*no CUDA; .*VK_DRIVER_FILES$"):
        gpu.main(["--out", str(tmp_path / "report.json")])
    assert not (tmp_path / "report.json").exists()


@pytest.mark.usefixtures("no_adapter")
def test_pytorch_alone_is_timed_without_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TINY", {"Wide-1B": CHATTY})
    gpu.main(["--sizes", "tiny", "--out", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["webgpu"].startswith("not measured: no adapter in Node (")
    assert "agents" not in report and "adapter" not in report
    row = report["pytorch"]["agents"]["Wide-1B"]
    assert row["prefill_tokens_per_second"] > 0 and row["training_tokens_per_second"] > 0
    assert gpu.file_name(report) == "bench-gpu-pytorch.json"


@pytest.mark.parametrize(("software", "name"), [(True, "bench-gpu-software.json"), (False, "bench-gpu.json")])
def test_reports_of_software_adapters_have_a_file_of_their_own(software: bool, name: str) -> None:
    assert gpu.file_name({"adapter": {"software": software}}) == name


def test_pytorch_is_timed_wherever_it_runs() -> None:
    row = time_agent(
        CHATTY, torch.device("cpu"), TorchWork(prompt=8, steps=3, batch=2, repeats=1, copied_bytes=1 << 16)
    )
    assert row["prefill_tokens_per_second"] > 0 and row["training_tokens_per_second"] > 0
