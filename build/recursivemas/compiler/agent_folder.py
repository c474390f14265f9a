"""One checkpoint to one browser-ready agent folder in MLC's layout: `rmas compile`.

Source: docs/formats.md and docs/abi.md. The folder holds `mlc-chat-config.json`, `tensor-cache.json`,
`params_shard_*.bin`, the tokenizer, the checkpoint's licence and one `<agent>-<quantization>-webgpu.wasm`.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

from recursivemas.compiler.backends import PreparedModel, prepare
from recursivemas.compiler.chat_config import CHAT_CONFIG, chat_config
from recursivemas.compiler.checkpoint import Checkpoint
from recursivemas.compiler.library_metadata import read_library_metadata
from recursivemas.compiler.licence import declared_licence
from recursivemas.compiler.model_facts import ModelFacts
from recursivemas.compiler.page_tokenizer import compare_with_page, page_tokenizer_json
from recursivemas.compiler.runtime.toolchain import Emscripten, find_emscripten
from recursivemas.compiler.tokenizer import read_tokenizer
from recursivemas.compiler.weights import WeightsSummary
from recursivemas.system.atomic import check_replaceable, output_folder
from recursivemas.system.chat_template import ChatTemplate
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer, sha256_of
from recursivemas.system.hub import ResolvedModel
from recursivemas.system.manifest import Sampling, SubgroupSize
from recursivemas.system.progress import Progress, Say, silent
from recursivemas.system.quantize import Scheme, find_scheme
from recursivemas.system.tokenizer import load_tokenizer, read_tokenizer_json

FORMAT_VERSION = 1

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*")

_CHAT_TEMPLATE = "chat_template.jinja"

_PARTS = (
    CHAT_CONFIG,
    "tensor-cache.json",
    "params_shard_*.bin",
    "*.wasm",
    "*token*.json",
    "tokenizer.model",
    "vocab*",
    "merges.txt",
    _CHAT_TEMPLATE,
    *_LICENCES,
)
"""Names of the files that this or an earlier version writes."""

_OURS = (
    *("model", "revision", "license", "weights_sha256", "backend", "model_lib", "dtype", "hidden_size"),
    *("num_hidden_layers", "memory_bytes", "required_features", "required_limits", "versions"),
)
"""Keys under `recursivemas` that a build reads."""

_LIBRARY_BYTES = 16 << 20
"""Disk space for the library and for linking it."""


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    Attributes:
        quantization: Name of a scheme.
        backend: `auto`, `relax` or `mlc`.
        context_window_size: Longest context, in tokens; the backend's default when absent.
        prefill_chunk_size: Longest input of one call, in tokens; the backend's default when absent.
        subgroup_size: Adds a second library, for GPUs whose subgroups have at least so many threads.
        small_libraries: Links libraries for their size: a tenth smaller once gzipped, for most of a minute of CPU each.
    """

    quantization: str
    backend: str = "auto"
    context_window_size: int | None = None
    prefill_chunk_size: int | None = None
    subgroup_size: int | None = None
    small_libraries: bool = False

    def __post_init__(self) -> None:
        """Checks the size of subgroups.

        Raises:
            InputError: WebGPU has no such subgroups.
        """
        sizes = get_args(SubgroupSize)
        if self.subgroup_size not in (None, *sizes):
            raise InputError(f"subgroup size {self.subgroup_size}: expected one of {', '.join(map(str, sizes))}")


@dataclass(frozen=True)
class AgentFolder:
    """A compiled agent, as its own files describe it.

    Attributes:
        folder: Where it is.
        model_lib: Name of its `.wasm`.
        config: `mlc-chat-config.json`.
    """

    folder: Path
    model_lib: str
    config: Mapping[str, Any]

    @property
    def ours(self) -> Mapping[str, Any]:
        """The part of the configuration that only this project reads."""
        part: Mapping[str, Any] = self.config["recursivemas"]
        return part

    @property
    def subgroup_lib(self) -> Mapping[str, Any] | None:
        """Name and `subgroup_size` of its second library, if it has one; see `SubgroupLibrary` of the manifest."""
        found: Mapping[str, Any] | None = self.ours.get("subgroup_lib")
        return found

    @property
    def small_libraries(self) -> bool:
        """Whether its libraries were linked for their size."""
        return bool(self.ours.get("small_libraries", False))

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The checkpoint's own tokens that end an answer."""
        ids = self.config.get("eos_token_id", [])
        return tuple(ids) if isinstance(ids, list) else (ids,)

    @property
    def own_eos_token(self) -> int | None:
        """The tokenizer's own `eos_token`."""
        own: int | None = load_tokenizer(self.folder).eos_token_id
        return own

    @property
    def sampling(self) -> Sampling:
        """How the checkpoint says that tokens are picked."""
        return Sampling.parse(self.ours.get("sampling", {}), str(self.folder / CHAT_CONFIG))

    @property
    def added_tokens(self) -> dict[str, int]:
        """Ids of the tokenizer's added tokens by their texts."""
        tokenizer = read_tokenizer_json(self.folder / "tokenizer.json")[1]
        return {token.content: token_id for token_id, token in tokenizer.get_added_tokens_decoder().items()}

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's chat template."""
        if "special_tokens" not in self.ours:  # version 0.1.0 of this program wrote the folder
            return ChatTemplate.of(load_tokenizer(self.folder))
        source = self.ours["chat_template"]
        return None if source is None else ChatTemplate(source, self.ours["special_tokens"])

    @property
    def size_bytes(self) -> int:
        """Size of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def content_digest(self) -> str:
        """Sha256 over the names and contents of its files, by which hosts and caches tell folders apart."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            digest.update(path.name.encode() + b"\0" + bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()


def compile_agent(
    model: ResolvedModel,
    out: Path,
    options: CompileOptions,
    say: Say = silent,
    on_weights: Progress = lambda done, total: None,
) -> AgentFolder:
    """Compiles a checkpoint.

    Args:
        model: The checkpoint, with the adapter that is merged into it if there is one.
        out: The agent folder; an earlier one is replaced once this one is complete.
        options: How to compile.
        say: Called with one line before each step.
        on_weights: Called with the bytes of weights that are converted and their total.

    Raises:
        InputError: The checkpoint or an option cannot be used, `out` is something else, emscripten is missing or too
            old, or the disk is too small. Nothing is left behind.
    """
    scheme = find_scheme(options.quantization)
    check_out(out)
    emscripten = find_emscripten()
    say(f"Reading {model.source or model.gguf or model.folder}")
    if model.adapter is not None:
        say(f"Merging the adapter {model.adapter.source}")
    checkpoint = Checkpoint.of(model)
    prepared = prepare(
        checkpoint,
        scheme,
        options.backend,
        context_window_size=options.context_window_size,
        prefill_chunk_size=options.prefill_chunk_size,
    )
    if prepared.note is not None:
        say(prepared.note)
    tokenizer = read_tokenizer(model.folder, prepared.facts.vocab_size)
    special = compare_with_page(model.folder, prepared.facts.vocab_size)
    tokenizer = dataclasses.replace(tokenizer, special_ids={text: token_id for token_id, text in special.items()})
    config = chat_config(checkpoint, prepared.facts, scheme, tokenizer)
    ours = config["recursivemas"]
    if prepared.facts.recurrent_state_bytes:
        say("WebLLM cannot chat with this agent, because it passes no recurrent state")
    elif ours["chat_template"] is not None and not ours["conv_template_exact"]:
        say("WebLLM will chat with this agent without its chat template, which its configuration cannot express")
    extras = [model.folder / name for name in tokenizer.files]
    extras += [
        path
        for pattern in (_CHAT_TEMPLATE, *_LICENCES)
        for path in sorted(model.folder.glob(pattern))
        if path.is_file()
    ]
    _check_disk(out, prepared.weights_nbytes() + sum(path.stat().st_size for path in extras) + _LIBRARY_BYTES)
    library = f"{_slug(model.name)}-{scheme.name}-webgpu.wasm"

    def told(line: str) -> None:
        say(line[:1].upper() + line[1:])

    with output_folder(out) as folder:
        say(f"Converting the weights to {scheme.name}")
        summary = prepared.write_weights(folder, on_weights)
        subgroup_lib = None
        if options.subgroup_size is not None:
            name = f"{_slug(model.name)}-{scheme.name}-webgpu-subgroups.wasm"
            subgroup_lib = {"model_lib": name, "subgroup_size": options.subgroup_size}
            prepared.compile_library(folder / name, told, options.subgroup_size, options.small_libraries)
        prepared.compile_library(folder / library, told, small=options.small_libraries)
        for path in extras:
            shutil.copyfile(path, folder / path.name)
        if marked := page_tokenizer_json(model.folder, special):
            (folder / "tokenizer.json").write_text(marked, encoding="utf-8")
        config["recursivemas"] |= _ours(prepared, scheme, model, summary, folder / library, emscripten)
        if subgroup_lib is not None:
            config["recursivemas"]["subgroup_lib"] = subgroup_lib
        if options.small_libraries:
            config["recursivemas"]["small_libraries"] = True
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / CHAT_CONFIG).write_text(text, encoding="utf-8")
    return read_agent_folder(out)


def read_agent_folder(folder: Path) -> AgentFolder:
    """Reads what `compile_agent` wrote.

    Raises:
        InputError: It is no agent folder, or another version of this program wrote it.
    """
    config = read_json(folder / CHAT_CONFIG, "agent configuration; `rmas compile` writes one")
    ours = config.get("recursivemas") if isinstance(config, dict) else None
    refuse_newer(ours, FORMAT_VERSION, folder / CHAT_CONFIG, "agent folder")
    if not isinstance(ours, dict) or ours.get("version") != FORMAT_VERSION:
        raise InputError(f"{folder}: not an agent folder of this version; compile it again with `rmas compile`")
    if missing := [key for key in _OURS if key not in ours]:
        raise InputError(f"{folder / CHAT_CONFIG}: has no 'recursivemas.{missing[0]}'; compile the agent again")
    libraries = sorted(path.name for path in folder.glob("*.wasm"))
    expected = sorted([ours["model_lib"], *([ours["subgroup_lib"]["model_lib"]] if "subgroup_lib" in ours else [])])
    if libraries != expected:
        raise InputError(f"{folder}: expected exactly {' and '.join(expected)} as its .wasm, found {libraries}")
    return AgentFolder(folder, ours["model_lib"], config)


def check_out(out: Path) -> None:
    """Refuses to replace anything but an earlier agent folder or an empty one.

    Raises:
        InputError: `out` is something else.
    """
    check_replaceable(out, CHAT_CONFIG, "an agent folder", lambda name: any(fnmatch(name, each) for each in _PARTS))


def _ours(
    prepared: PreparedModel,
    scheme: Scheme,
    model: ResolvedModel,
    summary: WeightsSummary,
    library: Path,
    emscripten: Emscripten,
) -> dict[str, Any]:
    facts = prepared.facts
    metadata = read_library_metadata(library)
    return {
        "version": FORMAT_VERSION,
        "abi": metadata["recursivemas"]["abi"],
        "model": model.source or model.name,
        "revision": model.revision,
        "license": declared_licence(model),
        "weights_sha256": model.weights_sha256(),
        **({} if model.adapter is None else {"adapter": model.adapter.record}),
        "backend": facts.backend,
        "model_lib": library.name,
        "dtype": scheme.dtype,
        "hidden_size": facts.hidden_size,
        "num_hidden_layers": facts.num_hidden_layers,
        "parameters": summary.parameters,
        "weights_bytes": summary.nbytes,
        "kv_cache_bytes": facts.kv_cache_bytes,
        **({"recurrent_state_bytes": facts.recurrent_state_bytes} if facts.recurrent_state_bytes else {}),
        "memory_bytes": summary.nbytes
        + facts.kv_cache_bytes
        + facts.recurrent_state_bytes
        + max(metadata["memory_usage"].values(), default=0),
        "required_features": ["shader-f16"] if scheme.needs_shader_f16 else [],
        "required_limits": _required_limits(facts, summary, metadata),
        "versions": {
            **{name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm")},
            "emscripten": emscripten.version,
            **prepared.versions,
        },
    }


def _required_limits(facts: ModelFacts, summary: WeightsSummary, metadata: Mapping[str, Any]) -> dict[str, int]:
    """WebGPU limits by name. A buffer is a weight, a layer's part of the KV cache, or a temporary of the library."""
    largest = max(
        max(tensor.nbytes for tensor in summary.tensors),
        facts.kv_cache_bytes // facts.kv_cache.num_hidden_layers,
    )
    limits = {"maxStorageBufferBindingSize": largest, "maxBufferSize": largest}
    for name, value in metadata["recursivemas"].get("required_limits", {}).items():
        limits[name] = max(int(value), limits.get(name, 0))
    return limits


def _check_disk(out: Path, needed: int) -> None:
    parent = next(each for each in out.absolute().parents if each.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise InputError(
            f"{out}: needs {needed / 1e6:.0f} MB, but that disk has only {free / 1e6:.0f} MB free; free some space or "
            "choose another --out"
        )


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "agent"
