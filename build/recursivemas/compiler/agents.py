"""Compiles each checkpoint of a system once and caches compiled agents for the next build."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recursivemas.compiler.agent_folder import AgentFolder, CompileOptions, compile_agent, read_agent_folder
from recursivemas.compiler.backends import chosen_backend
from recursivemas.compiler.checkpoint import read_config
from recursivemas.compiler.runtime.toolchain import find_emscripten
from recursivemas.compiler.stamp import compiler, stamp_of
from recursivemas.system.cache import damage, kind_folder, remove, seal
from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef, ResolvedModel, checkpoint_of
from recursivemas.system.manifest import SubgroupLibrary
from recursivemas.system.progress import Say, silent
from recursivemas.system.system import Agent, System


@dataclass(frozen=True)
class BuiltAgent:
    """A compiled checkpoint, as the manifest describes it.

    Attributes:
        compiled: The agent folder in the cache.
        path: Folder in the system. Its name has a digest of its content, so that no cache mixes up two builds; agents
            of the same checkpoint share it.
    """

    compiled: AgentFolder
    path: str

    @property
    def hidden_size(self) -> int:
        """D."""
        return int(self.compiled.ours["hidden_size"])

    @property
    def record(self) -> dict[str, Any]:
        """The fields of `AgentRecord` that follow from the checkpoint."""
        config, ours = self.compiled.config, self.compiled.ours
        return {
            "model": ours["model"],
            "architecture": config["model_type"],
            "path": f"{self.path}/",
            "model_lib": f"{self.path}/{self.compiled.model_lib}",
            "quantization": config["quantization"],
            "vocab_size": config["vocab_size"],
            "context_window_size": config["context_window_size"],
            "prefill_chunk_size": config["prefill_chunk_size"],
            "subgroup_lib": self._subgroup_lib,
            **{name: ours[name] for name in ("dtype", "hidden_size", "num_hidden_layers", "memory_bytes")},
        }

    @property
    def _subgroup_lib(self) -> SubgroupLibrary | None:
        found = self.compiled.subgroup_lib
        if found is None:
            return None
        return SubgroupLibrary(model_lib=f"{self.path}/{found['model_lib']}", subgroup_size=found["subgroup_size"])

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin of the weights: model and revision, licence, sha256 over the weight files, adapter, versions."""
        names = ("model", "revision", "license", "weights_sha256", "backend", "versions")
        adapter = {"adapter": self.compiled.ours["adapter"]} if "adapter" in self.compiled.ours else {}
        return {**{name: self.compiled.ours[name] for name in names}, **adapter}


def built_agents(
    system: System, options: CompileOptions, say: Say = silent, prebuilt: Path | None = None
) -> dict[str, BuiltAgent]:
    """Compiles the agents of a system that are not in the cache yet.

    Args:
        system: With local folders resolved.
        options: How to compile.
        say: Called with one line before each step.
        prebuilt: Folder of agent folders by agent id, which `rmas compile` made elsewhere; without it, agents are
            compiled here.

    Returns:
        By agent id.

    Raises:
        InputError: A checkpoint or a prebuilt agent cannot be used, or emscripten is missing or too old.
    """
    if prebuilt is None:
        find_emscripten()  # before a download that may take long
    models: dict[CheckpointRef, BuiltAgent] = {}
    built: dict[str, BuiltAgent] = {}
    for agent in system.agents:
        key = checkpoint_of(agent)
        if key not in models:
            if prebuilt is not None:
                compiled = _prebuilt(agent, prebuilt / agent.id, options)
            else:
                compiled = _compiled(key.resolve(say), options, say)
            models[key] = BuiltAgent(compiled, f"agents/{agent.id}-{compiled.content_digest()[:12]}")
        built[agent.id] = models[key]
    return built


def _prebuilt(agent: Agent, folder: Path, options: CompileOptions) -> AgentFolder:
    """Reads an agent folder and checks that it fits the system and the options."""
    compiled = read_agent_folder(folder)
    checkpoint, adapter = checkpoint_of(agent), compiled.ours.get("adapter", {})
    facts = (
        ("model", checkpoint.shown, compiled.ours["model"]),
        ("revision", _commit(agent.revision), compiled.ours["revision"]),
        ("adapter", checkpoint.shown_adapter or "none", adapter.get("adapter", "none")),
        ("adapter revision", _commit(agent.adapter_revision), adapter.get("revision")),
        ("backend", None if options.backend == "auto" else options.backend, compiled.ours["backend"]),
        ("quantization", options.quantization, compiled.config["quantization"]),
        ("context_window_size", options.context_window_size, compiled.config["context_window_size"]),
        ("prefill_chunk_size", options.prefill_chunk_size, compiled.config["prefill_chunk_size"]),
        ("subgroup_size", options.subgroup_size, (compiled.subgroup_lib or {}).get("subgroup_size")),
        ("small_libraries", options.small_libraries or None, compiled.small_libraries),
    )
    for name, wanted, found in facts:
        if wanted is not None and wanted != found:
            raise InputError(
                f"{folder}: was compiled with {name} {found!r}, but this build needs {wanted!r}; compile it again"
            )
    return compiled


def _commit(revision: str | None) -> str | None:
    """A revision that names one commit; None for a branch or tag, which moves."""
    return revision if re.fullmatch(r"[0-9a-f]{40}", revision or "") else None


def _compiled(model: ResolvedModel, options: CompileOptions, say: Say) -> AgentFolder:
    names = [path for path in sorted(model.folder.iterdir()) if path.is_file()]
    names += [model.gguf] if model.gguf else []
    backend = chosen_backend(read_config(model.folder), options.backend)
    stamp = stamp_of(
        names,
        options=vars(options),
        model=[model.name, model.source, model.revision],
        adapter=model.adapter and model.adapter.record,
        compiler=compiler([backend]),
    )
    folder = kind_folder("agents") / stamp[:32]
    wrong = damage(folder)
    if wrong is None:
        return read_agent_folder(folder)
    if folder.exists():
        say(f"{model.name}: the compiled agent in the cache {wrong}; it is compiled again")
    remove(folder)
    shown: set[int] = set()

    def on_weights(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if total > 1 << 26 and tenth not in shown:
            shown.add(tenth)
            say(f"  {model.name}: {10 * tenth} % of {total / 1e6:.0f} MB")

    compiled = compile_agent(model, folder, options, lambda line: say(f"{model.name}: {line}"), on_weights)
    seal(folder)
    return compiled
