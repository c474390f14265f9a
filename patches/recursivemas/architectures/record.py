"""The record of MLC-LLM's architectures: which ones build, and how they compare with transformers."""

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recursivemas.architectures.parity import check_parity, transformers_has
from recursivemas.architectures.samples import sample_config
from recursivemas.compiler import abi
from recursivemas.compiler.library import library_metadata
from recursivemas.compiler.models.hf_config import library_sizes
from recursivemas.compiler.pipeline import build_executable, webgpu_target
from recursivemas.compiler.shaders import check_limits, shaders_of
from recursivemas.compiler.wgsl import has_dawn, refused_by_dawn
from recursivemas.mlc.definition import define, export_definition
from recursivemas.mlc.importing import Mlc
from recursivemas.mlc.mlc_model import model_facts
from recursivemas.system.errors import InputError
from recursivemas.system.files import write_text_atomic
from recursivemas.system.quantize import SCHEMES

RESULTS = Path(__file__).with_name("architectures.json")
"""Results that `rmas architectures --check --record` wrote."""

_SCHEME = "q4f16_1"
_PACKAGES = ("apache-tvm", "apache-tvm-ffi", "torch", "transformers")


@dataclass(frozen=True)
class Outcome:
    """The result of checking one architecture.

    Attributes:
        architecture: MLC-LLM's name.
        status: `builds, parity checked`, `builds`, or `does not build`.
        note: Why it does not build, or why parity was not checked; otherwise empty.
        embed_scale: The factor that the family multiplies token embeddings by; latent thoughts come after it.
        correction: What we correct in MLC-LLM's definition, if anything.
        hidden_error: Relative error of hidden states against transformers.
        logits_error: Relative error of logits.
        seconds: How long the checks took.
    """

    architecture: str
    status: str
    note: str = ""
    embed_scale: float = 1.0
    correction: str = ""
    hidden_error: float | None = None
    logits_error: float | None = None
    seconds: float = 0.0

    @property
    def builds(self) -> bool:
        """Whether it builds."""
        return self.status.startswith("builds")


def registry(mlc: Mlc) -> list[str]:
    """Every architecture's name, sorted."""
    return sorted(mlc.models)


def check(mlc: Mlc, names: Sequence[str], say: Callable[[str], None] = lambda _: None) -> Iterator[Outcome]:
    """Builds each architecture for WebGPU and compares it with transformers if that is possible.

    Args:
        mlc: The imported MLC-LLM.
        names: Of its registry.
        say: Called with each name before its turn.
    """
    for name in names:
        say(name)
        started = time.monotonic()
        yield dataclasses.replace(check_one(mlc, name), seconds=round(time.monotonic() - started, 1))


def check_one(mlc: Mlc, name: str) -> Outcome:
    """Builds one architecture and compares it with transformers."""
    if getattr(mlc.models[name], "model_task", "chat") != "chat":
        return Outcome(name, "does not build", "an embedding model, not a language model")
    config = sample_config(name)
    if config is None:
        return Outcome(name, "does not build", "no sample configuration: " + _NO_SAMPLE.get(name, "not written yet"))
    try:
        scale, correction = _build(mlc, config)
    except Exception as error:  # Whatever a definition raises is what the record lists.
        return Outcome(name, "does not build", _one_line(error))
    outcome = Outcome(name, "builds", embed_scale=scale, correction=correction)
    if not transformers_has(name):
        return dataclasses.replace(outcome, note="transformers has no such model to compare with")
    text = config.get("text_config") or config
    # Their kernels for routing and for linear attention are written for a GPU alone.
    if text.keys() & {"num_experts", "num_local_experts", "linear_num_key_heads"}:
        return dataclasses.replace(outcome, note="compared with transformers in Chromium (tests/patches)")
    try:
        parity = check_parity(mlc, config)
    except Exception as error:  # As above: the reason is the result.
        return dataclasses.replace(outcome, note=f"not compared: {_one_line(error)}")
    outcome = dataclasses.replace(outcome, hidden_error=parity.hidden, logits_error=parity.logits)
    if not parity.passed:
        return dataclasses.replace(outcome, note="differs from transformers")
    return dataclasses.replace(outcome, status="builds, parity checked")


_NO_SAMPLE = {
    "llava": "it needs pictures",
    "phi3_v": "it needs pictures",
    "rwkv5": "it has a recurrent state instead of a paged KV cache",
    "rwkv6": "it has a recurrent state instead of a paged KV cache",
    "deepseek_v2": "its multi-head latent attention has another KV cache",
    "deepseek_v3": "its multi-head latent attention has another KV cache",
    "eagle": "it drafts for another model",
    "medusa": "it drafts for another model",
}


def _build(mlc: Mlc, config: dict[str, Any]) -> tuple[float, str]:
    """Compiles for WebGPU without linking; returns the factor on embeddings and what was corrected."""
    target, scheme = webgpu_target(), SCHEMES[_SCHEME]
    definition = define(mlc, config, scheme, target)
    exported, cache = export_definition(definition, target)
    context, chunk = library_sizes(definition.architecture, definition.longest_context, None, None)
    facts = model_facts(definition, cache, scheme, context, chunk)
    ours = {"hidden_size": facts.hidden_size, "vocab_size": facts.vocab_size, "dtype": scheme.dtype}
    metadata = {**library_metadata(facts, exported.tensors, scheme), "recursivemas": ours}
    module = abi.complete(exported.module)
    executable = build_executable(module, metadata, schedule="gpu", bounds={"seq_len": chunk}, target=target)
    shaders = shaders_of(executable.mod)
    check_limits(shaders)
    for shader, problem in (refused_by_dawn(shaders) if has_dawn() else {}).items():
        raise InputError(f"Dawn refuses the shader {shader}: {problem}")
    return definition.latent.embed_scale, definition.corrections.reason


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 240 else "… " + text[-238:])


def versions(mlc: Mlc) -> dict[str, str]:
    """The versions that results depend on."""
    found = {"mlc-llm": mlc.version}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["WGSL"] = "compiled with Dawn" if has_dawn() else "not compiled"
    return found


def record(path: Path, mlc: Mlc, outcomes: Sequence[Outcome]) -> None:
    """Writes results with their versions; other architectures' results of the same versions stay."""
    kept = {}
    if path.is_file():
        old_versions, old = load(path)
        kept = {each.architecture: each for each in old} if old_versions == versions(mlc) else {}
    merged = kept | {each.architecture: each for each in outcomes}
    content = {
        "command": "rmas architectures --check --record",
        "quantization": _SCHEME,
        "versions": versions(mlc),
        "results": [dataclasses.asdict(merged[name]) for name in sorted(merged)],
    }
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")


def load(path: Path) -> tuple[Mapping[str, str], list[Outcome]]:
    """Reads recorded results.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["versions"], [Outcome(**each) for each in content["results"]]
    except FileNotFoundError:
        raise InputError(f"{path}: nothing recorded yet; run rmas architectures --check --record") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a record of architectures ({error}); record it again") from None
