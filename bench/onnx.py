"""What ONNX agents would cost the page: the size of onnxruntime-web, and how agents exported to ONNX compute in it.

The agents of the default system are exported with a KV cache, `inputs_embeds` and hidden states, their links beside
them. Node runs them with onnxruntime-web's WebAssembly (one thread, as in a page without cross-origin isolation), and
PyTorch is the reference. The engine's own runtime for visitors without WebGPU is measured beside them. The packages
are installed into `.cache/onnx`, beside the project's own. docs/other-runtimes.md says what follows from the figures.
"""

import gzip
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from bench._shipped import shipped
from harness.engine_node import open_engine
from harness.engine_page import build_harness
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.links_file import load_links
from recursivemas.system.questions import load_questions
from recursivemas.training.agents import LoadedAgent
from recursivemas.training.loading import load_recursion
from recursivemas.training.rollout import begin, think

EVIDENCE = Path("docs/evidence/bench-onnx.json")
PLACE = Path(".cache/onnx")
PYTHON_PACKAGES = {"onnx": "1.23.2", "protobuf": "7.36.2"}
NPM_PACKAGES = {"onnxruntime-web": "1.30.0", "@huggingface/transformers": "4.3.1"}
SYSTEM = "hop-sequential"
STEPS = 16
BUILT = Path("dist") / SYSTEM
FEW, MANY, REPEATS = 2, 18, 5
# What a page loads, by what it uses: files of the npm packages.
SIZES = {
    "onnxruntime-web on WebAssembly": (
        "onnxruntime-web/dist/ort.wasm.min.mjs",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    ),
    "onnxruntime-web on WebGPU": (
        "onnxruntime-web/dist/ort.webgpu.min.mjs",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs",
        "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm",
    ),
    "transformers.js, without its onnxruntime-web": ("@huggingface/transformers/dist/transformers.web.min.js",),
}


class Step(nn.Module):
    """An agent that reads new positions after those of a KV cache: what a turn needs, as one graph."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model
        self.lm_head = model.lm_head
        self.layers = model.config.num_hidden_layers

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """(1, T, D), (1, T), (1, 1, T, P + T), keys and values (1, H, P, d) to states, logits, keys and values."""
        cache = DynamicCache()
        for layer in range(self.layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        hidden = self.model(
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        present = [each for layer in cache.layers for each in (layer.keys, layer.values)]
        return (hidden, self.lm_head(hidden[:, -1]), *present)


def main() -> None:
    """Prints the tables and writes the evidence."""
    console = Console()
    install()
    sizes = {what: size_of(files) for what, files in SIZES.items()}
    table = Table("what a page would load", "MB", "MB gzipped")
    for what, size in sizes.items():
        table.add_row(what, f"{size['bytes'] / 1e6:.2f}", f"{size['gzipped_bytes'] / 1e6:.2f}")
    console.print(table)
    agents = measure()
    columns = Table("agent", *next(iter(agents.values())))
    for agent, row in agents.items():
        columns.add_row(agent, *(f"{each:.3g}" for each in row.values()))
    console.print(columns)
    ours = processor()
    console.print("the engine's own runtime, ms a latent step:", ours["ms_a_step"])
    report = {
        "command": "python -m bench onnx",
        "versions": {**PYTHON_PACKAGES, **NPM_PACKAGES, "torch": importlib.metadata.version("torch")},
        "machine": {"cores": os.cpu_count(), "node": run(["node", "--version"]).strip()},
        "sizes": sizes,
        "agents": agents,
        "processor": ours,
    }
    write_text_atomic(EVIDENCE, json.dumps(report, indent=1) + "\n")
    console.print(f"written to {EVIDENCE}")


def run(command: Sequence[str]) -> str:
    """What a command prints. Raises InputError if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def install() -> None:
    """Puts the packages into `.cache/onnx`, unless they are there; they come from the registries."""
    python, modules = PLACE / "python", PLACE / "node_modules"
    if not (python / "onnx").exists():
        names = [f"{name}=={version}" for name, version in PYTHON_PACKAGES.items()]
        run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(python), *names])
    for name, version in NPM_PACKAGES.items():
        folder = modules / name
        if folder.exists():
            continue
        # Unpacked, not installed: transformers.js would bring onnxruntime for Node and an image library.
        PLACE.mkdir(parents=True, exist_ok=True)
        archive = run(["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(PLACE)]).strip()
        folder.mkdir(parents=True)
        run(["tar", "xzf", str(PLACE / archive), "--strip-components=1", "--directory", str(folder)])
    if not (modules / "onnxruntime-common").exists():
        run(["npm", "install", "--prefix", str(PLACE), "--no-save", "--ignore-scripts", "--no-audit", "--no-fund",
             f"onnxruntime-web@{NPM_PACKAGES['onnxruntime-web']}"])  # fmt: skip
    sys.path.append(str(python.resolve()))


def size_of(files: Sequence[str]) -> dict[str, int]:
    """Bytes that a page loads, as they are and gzipped."""
    contents = [(PLACE / "node_modules" / each).read_bytes() for each in files]
    zipped = sum(len(gzip.compress(each, 9)) for each in contents)
    return {"bytes": sum(map(len, contents)), "gzipped_bytes": zipped}


@torch.no_grad()
def measure() -> dict[str, dict[str, float]]:
    """Exports every agent, lets both runtimes think, and compares."""
    (each,) = shipped([SYSTEM])
    recursion = load_recursion(each.system, load_links(each.links))
    assert each.system.task is not None and each.system.task.data is not None
    question = load_questions(each.system.task.data)[0].question
    rows = {}
    for name, agent in recursion.agents.items():
        edge = next(edge for edge in each.system.edges if edge.source == name)
        outer = recursion.links.outer[edge.id]
        inner = recursion.links.inner[name]
        prompt = agent.embed(torch.tensor(agent.tokenizer.encode(question, add_special_tokens=False)))
        hidden, context = begin(agent, [prompt])
        thoughts = think(agent, inner, hidden, context, STEPS)[0]
        files = export(agent, inner, outer, PLACE / name)
        job = {
            "prompt": prompt.flatten().tolist(),
            "size": agent.hidden_size,
            "steps": STEPS,
            "cache": cache_shape(agent),
            "files": {key: str(path.resolve()) for key, path in files.items()},
        }
        (PLACE / "job.json").write_text(json.dumps(job), encoding="utf-8")
        came = json.loads(run(["node", "bench/onnx.mjs", str(PLACE / "job.json"), str(PLACE / "node_modules")]))
        rows[name] = {
            "onnx_bytes": files["step"].stat().st_size,
            "weights_bytes": 4 * sum(each.numel() for each in agent.model.parameters()),
            "error_of_thoughts": relative_error(came["thoughts"], thoughts),
            "error_of_hand_off": relative_error(came["hand_off"], outer(inner(thoughts))),
            "ms_to_start": came["ms_to_start"],
            "ms_a_step": came["ms_a_step"],
        }
    return rows


def processor() -> dict[str, Any]:
    """The engine's own runtime for visitors without WebGPU, in Node: ms a latent step, and the errors of hand-offs.

    A step's time is the difference between turns of many and of few steps, the fastest of several.
    """
    if not (BUILT / "system.json").exists():
        raise InputError("the default system is not built; run 'make systems' first")
    (each,) = shipped([SYSTEM])
    recursion = load_recursion(each.system, load_links(each.links))
    assert each.system.task is not None and each.system.task.data is not None
    question = load_questions(each.system.task.data)[0].question
    with tempfile.TemporaryDirectory() as place:
        harness = Path(place) / "harness"
        build_harness(harness)
        with open_engine(harness, BUILT.parent, idle=True) as engine:
            engine.load(BUILT, runtime="processor")
            traced = engine.run(question, rounds=3, trace={"handoffs": True})
            timed = {
                steps: [engine.run(question, rounds=2, latentSteps=steps)["turns"] for _ in range(REPEATS)]
                for steps in (FEW, MANY)
            }
    expected = recursion.run([question], rounds=3)
    right = [rows[0] for turn in expected.turns for rows in turn.hand_offs.values()]
    errors = [relative_error(got["states"]["data"], rows) for got, rows in zip(traced["handoffs"], right, strict=True)]

    def fastest(steps: int, agent: str) -> float:
        return min(turn["ms"] for turns in timed[steps] for turn in turns if turn["agent"] == agent)

    return {
        "error_of_hand_offs": max(errors),
        "same_answer": traced["answer"] == expected.texts[0],
        "ms_a_step": {
            name: round((fastest(MANY, name) - fastest(FEW, name)) / (MANY - FEW), 2) for name in recursion.agents
        },
    }


def cache_shape(agent: LoadedAgent) -> dict[str, int]:
    """Layers, heads and head size of an agent's KV cache."""
    config = agent.model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {"layers": config.num_hidden_layers, "heads": config.num_key_value_heads, "size": size}


def export(agent: LoadedAgent, inner: nn.Module, outer: nn.Module, folder: Path) -> dict[str, Path]:
    """Writes an agent and two of its links as ONNX graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = cache_shape(agent)
    old, new, size = 5, 3, agent.hidden_size  # any lengths; they are dynamic axes
    past = [torch.randn(1, shape["heads"], old, shape["size"]) for _ in range(2 * shape["layers"])]
    mask = torch.zeros(1, 1, new, old + new)
    caches = [f"{kind}.{layer}" for layer in range(shape["layers"]) for kind in ("key", "value")]
    inputs = ["inputs_embeds", "position_ids", "mask", *(f"past.{each}" for each in caches)]
    outputs = ["hidden_states", "logits", *(f"present.{each}" for each in caches)]
    axes = {"inputs_embeds": {1: "t"}, "position_ids": {1: "t"}, "mask": {2: "t", 3: "n"}}
    axes |= {each: {2: "p"} for each in inputs[3:]}
    files = {name: folder / f"{name}.onnx" for name in ("step", "inner", "outer")}
    step = Step(agent.model).eval()
    arguments = (torch.randn(1, new, size), torch.arange(old, old + new)[None], mask, *past)
    with torch.no_grad():
        _write(step, arguments, files["step"], inputs, outputs, axes)
        for name, link in (("inner", inner), ("outer", outer)):
            _write(link, (torch.randn(new, size),), files[name], ["states"], ["mapped"], {"states": {0: "t"}})
    return files


def _write(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    torch.onnx.export(
        module,
        arguments,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=18,
        dynamo=False,
    )


def relative_error(came: list[float], expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    got = torch.tensor(came).reshape(expected.shape)
    return float((got - expected).abs().max() / expected.abs().max())
