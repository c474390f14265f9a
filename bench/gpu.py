"""Times on whatever GPU is there: the paper's three agents in Node's WebGPU, and in PyTorch on CUDA where it is.

    python -m bench gpu                        # real sizes on a GPU, a tiny trio on a software adapter
    python -m bench.gpu --sizes real           # real sizes in any case, with random weights

A machine that has CUDA and no WebGPU adapter measures the PyTorch half alone.

Where `MLC_LLM_SOURCE_DIR` names MLC-LLM's sources, the same agents are also built from MLC-LLM's graphs with TVM's
kernels, which is what WebLLM's libraries are, and are timed in turns with ours, in a process of their own.

Each figure comes with the adapter's name. On a software adapter the times say nothing about a GPU, and the table says
so. What a step must read at least, divided by what the adapter copies in a second, is the bound that memory sets;
the share says how much of a step's time that explains. docs/benchmarks.md says how to read the tables.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import _webgpu as webgpu
from bench import float16
from bench._torch import TorchWork, copy_rate, device_name, time_agent, torch_device
from bench.calls import PEER
from bench.real_size import MODELS as REAL
from harness.engine_node import open_engine
from harness.engine_page import build_harness
from harness.node import NoAdapterError, open_node
from recursivemas.compiler.models import load_model_config
from recursivemas.mlc.tree import describe as describe_mlc
from recursivemas.mlc.tree import find_mlc
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import find_scheme

EVIDENCE = Path("docs/evidence")
WITH_FLOAT16, WITHOUT_FLOAT16 = "q4f16_1", "q4f32_1"

_SHORT = {"num_hidden_layers": 2, "intermediate_size": 256, "vocab_size": 512}
TINY: dict[str, dict[str, Any]] = {
    name: {**config, **_SHORT, "hidden_size": 320, "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 32}
    for name, config in REAL.items()
}
"""The same three families, small enough for a processor and just large enough for the schedule of the real sizes."""

WORK = {
    "real": webgpu.Work(steps=(2, 50), tokens=(1, 33), prompt=(64, 1088), repeats=5, copied_bytes=1 << 30, copies=20),
    "tiny": webgpu.Work(steps=(2, 10), tokens=(1, 9), prompt=(16, 48), repeats=1, copied_bytes=4 << 20, copies=2),
}
TORCH_WORK = {
    "real": TorchWork(prompt=512, steps=32, batch=8, repeats=5, copied_bytes=1 << 30),
    "tiny": TorchWork(prompt=32, steps=8, batch=2, repeats=1, copied_bytes=4 << 20),
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables and writes the report into `docs/evidence/`; see `file_name`."""
    given = _parser().parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rmas-bench-") as scratch:
        report = measure(console, Path(scratch), given.sizes)
    out = given.out or EVIDENCE / file_name(report)
    write_text_atomic(out, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Times on whatever GPU is there.")
    parser.add_argument(
        "--sizes", choices=sorted(WORK), help="real sizes or a tiny trio; by default what the adapter allows"
    )
    parser.add_argument("--out", type=Path, help="where the report goes")
    return parser


def file_name(report: Mapping[str, Any]) -> str:
    """The file of a report: software adapters, and PyTorch without WebGPU, have their own."""
    if "adapter" not in report:
        return "bench-gpu-pytorch.json"
    return "bench-gpu-software.json" if report["adapter"]["software"] else "bench-gpu.json"


def measure(console: Console, scratch: Path, sizes: str | None) -> dict[str, Any]:
    """Everything that this machine can measure.

    Args:
        console: For tables and progress.
        scratch: An empty folder.
        sizes: `real` or `tiny`; None chooses by the adapter, and without one takes `real`.

    Raises:
        InputError: Node finds no WebGPU adapter, and PyTorch no CUDA for agents of the real sizes.
    """
    try:
        sizes, in_webgpu = measure_webgpu(console, scratch, sizes)
    except NoAdapterError as error:
        sizes = sizes or "real"
        if sizes == "real" and torch_device().type != "cuda":
            raise InputError(
                f"no WebGPU adapter in Node here ({error}), and PyTorch has no CUDA; install the GPU's Vulkan driver, "
                "or name a software one in VK_DRIVER_FILES"
            ) from None
        console.print(f"No WebGPU adapter in Node here ({error}); PyTorch alone is measured.", markup=False)
        in_webgpu = {"webgpu": f"not measured: no adapter in Node ({error})"}
    return {
        "command": f"python -m bench.gpu --sizes {sizes}",
        "seed": "of each agent its place in the system",
        "versions": {
            name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "torch", "transformers")
        },
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "sizes": sizes,
        **in_webgpu,
        "pytorch": time_torch(console, REAL if sizes == "real" else TINY, TORCH_WORK[sizes]),
        "load_average_at_the_end": os.getloadavg(),
    }


def measure_webgpu(console: Console, scratch: Path, sizes: str | None) -> tuple[str, dict[str, Any]]:
    """What Node's WebGPU measures, and the sizes of the agents.

    Raises:
        NoAdapterError: If Node finds no WebGPU adapter.
    """
    with open_node(scratch) as (libraries, _):
        adapter = webgpu.ask_adapter(libraries, WORK["tiny"])
        sizes = sizes or ("tiny" if adapter["adapter"]["software"] else "real")
        if sizes == "real":
            adapter = webgpu.ask_adapter(libraries, WORK["real"])
    describe(console, adapter, sizes)
    models = REAL if sizes == "real" else TINY
    rate = adapter["bytes_per_second"]
    scheme = WITH_FLOAT16 if adapter["float16"] else WITHOUT_FLOAT16
    timed = time_webgpu(console, scratch, models, scheme, WORK[sizes], rate)
    numerics: list[dict[str, Any]] | str = f"not measured: the adapter has no shader-f16, so the agents are {scheme}"
    if adapter["float16"]:
        with open_node(scratch, half=True) as (libraries, _):
            numerics = float16.errors(libraries, scratch)
        float16.show(console, adapter["adapter"]["description"], numerics)
    found = {"quantization": scheme, "work": vars(WORK[sizes]), **timed, "q4f16_1_against_pytorch": numerics}
    return sizes, {**adapter, **found}


def describe(console: Console, adapter: Mapping[str, Any], sizes: str) -> None:
    """Says what is measured, and what the figures are worth."""
    named = adapter["adapter"]
    label = " ".join(str(named[key]) for key in ("vendor", "architecture", "device", "description") if named[key])
    console.print(f"WebGPU adapter: {label}; it copies {adapter['bytes_per_second'] / 1e9:.1f} GB/s (read and written)")
    if named["software"]:
        console.print(
            "This is a software adapter: shaders run on the processor, and the times say nothing about a GPU.",
            style="bold",
        )
    if not adapter["float16"]:
        console.print(f"It has no shader-f16, so the agents are {WITHOUT_FLOAT16} instead of {WITH_FLOAT16}.")
    words = {"real": "the paper's sizes, random weights", "tiny": "tiny agents of the paper's families, random weights"}
    console.print(f"Agents: {words[sizes]}.")


def time_webgpu(
    console: Console,
    scratch: Path,
    models: Mapping[str, Mapping[str, Any]],
    scheme: str,
    work: webgpu.Work,
    bytes_per_second: float,
) -> dict[str, Any]:
    """Times each agent alone, then rounds of all of them: with compiled links, with links in JavaScript, and WebLLM's.

    Returns:
        `agents` and `rounds`; `webllm_library` with its version and `agents`, or why there is none.
    """

    def say(line: str) -> None:
        console.print(line, style="dim")

    ids = dict(zip(webgpu.ids(models), models, strict=True))
    webgpu.write_chain(scratch, {agent: models[name] for agent, name in ids.items()}, say)
    harness = build_harness(scratch / "harness")
    mlc = find_mlc()
    peer: dict[str, Any] = {"version": describe_mlc(mlc), "agents": {}} if mlc else {}
    found: dict[str, dict[str, Any]] = {"ours": {}, **({PEER: peer["agents"]} if peer else {})}
    with contextlib.ExitStack() as stack:
        timed: dict[str, webgpu.Timed] = {}
        for way, backend, few_calls in (("ours", "auto", True), (PEER, "mlc", False))[: len(found)]:
            say(f"building {', '.join(ids)} in {scheme}, {way}")
            system = webgpu.build_chain(scratch, scheme, backend)
            engine = stack.enter_context(open_engine(harness, system.parent))
            engine.load(system, fewCalls=few_calls)
            timed[way] = webgpu.Timed(engine, work)
        for agent, name in ids.items():
            least = webgpu.step_bytes(load_model_config(models[name]), find_scheme(scheme))
            for way, each in timed.items():
                say(f"timing {name}, {way}")
                found[way][name] = _with_bounds(each.agent(agent), least, bytes_per_second)
        for way, rows in found.items():
            _show_agents(console, f"WebGPU, {scheme}, {way}", rows)
        say("timing rounds with links in JavaScript, in a process of their own")
        javascript = webgpu.open_javascript_links(harness, webgpu.chain_folder(scratch))
        others = {"links_in_javascript": stack.enter_context(javascript)}
        if peer:
            others["webllm_library"] = timed[PEER].turns
        rounds = timed["ours"].rounds(others)
    _show_rounds(console, len(ids), rounds)
    if not peer:
        console.print("Set MLC_LLM_SOURCE_DIR to a clone of mlc-ai/mlc-llm to time WebLLM's libraries beside these.")
    missing = "not measured: MLC_LLM_SOURCE_DIR names no sources of MLC-LLM"
    return {"agents": found["ours"], "rounds": rounds, "webllm_library": peer or missing}


def _with_bounds(row: Mapping[str, Any], least: webgpu.StepBytes, bytes_per_second: float) -> dict[str, Any]:
    """An agent's times, with the share of each that reading its bytes explains."""
    positions = row["positions_of_a_step"]
    step, token = least.latent_step(positions), least.token(positions)
    return {
        **row,
        "latent_step_bytes": step,
        "decoded_token_bytes": token,
        "latent_step_share_of_memory_bound": webgpu.share(step, bytes_per_second, row["latent_step_ms"]),
        "decoded_token_share_of_memory_bound": webgpu.share(token, bytes_per_second, row["decoded_token_ms"]),
    }


def _show_rounds(console: Console, agents: int, rounds: Mapping[str, float]) -> None:
    console.print(
        f"A round of {agents} agents, {rounds['latent_steps']} latent steps each: "
        f"{rounds['compiled_links_ms']:.1f} ms with compiled links"
    )
    for name, words in (("links_in_javascript", "with links in JavaScript"), ("webllm_library", f"with {PEER}")):
        if f"{name}_ms" in rounds:
            ratio = rounds[f"{name}_to_compiled_links"]
            console.print(f"  {words}: {rounds[f'{name}_ms']:.1f} ms, {ratio:.2f} times as long")


def time_torch(console: Console, models: Mapping[str, Mapping[str, Any]], work: TorchWork) -> dict[str, Any]:
    """PyTorch's times on CUDA; of tiny agents on the processor where there is no CUDA."""
    device = torch_device()
    name = device_name(device)
    if device.type != "cuda" and work is TORCH_WORK["real"]:
        console.print("PyTorch: no CUDA here; real sizes in bfloat16 are not timed on the processor.")
        return {"device": name}
    agents = {}
    for model, config in models.items():
        console.print(f"timing {model} in PyTorch on {name}", style="dim")
        agents[model] = time_agent(config, device, work)
    _show_agents(console, f"PyTorch, bfloat16, {name}", agents)
    return {"device": name, "copy_bytes_per_second": copy_rate(device, work), "work": vars(work), "agents": agents}


def _show_agents(console: Console, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    shown = {
        "latent_step_ms": "ms a latent step",
        "latent_step_share_of_memory_bound": "of it memory's bound",
        "decoded_token_ms": "ms a token",
        "decoded_token_share_of_memory_bound": "of it memory's bound",
        "prefill_tokens_per_second": "prompt tokens/s",
        "training_tokens_per_second": "training tokens/s",
    }
    keys = [key for key in shown if any(key in row for row in rows.values())]
    table = Table(title, *rows, title_justify="left")
    for key in keys:
        table.add_row(shown[key], *(_cell(key, row[key]) for row in rows.values()))
    console.print(table)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "it ended at once"
    if key.endswith("bound"):
        return f"{value:.2%}"
    return f"{value:,.2f}" if key.endswith("_ms") else f"{value:,.0f}"


if __name__ == "__main__":
    import sys

    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"could not run: {error}")
