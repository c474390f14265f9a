"""Builds `dist/<system>/`: agent folders, links, questions, and the manifest with the sha256 of every file.

Source: docs/formats.md. The folder is written under another name and renamed when it is complete.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import recursivemas.release
from recursivemas.compiler.agent_folder import CompileOptions
from recursivemas.compiler.agents import BuiltAgent, built_agents
from recursivemas.compiler.backends import chosen_backend, installed_backends
from recursivemas.compiler.checkpoint import read_config
from recursivemas.compiler.stamp import compiler, read_stamp, sources_digest, stamp_file, stamp_of, write_stamp
from recursivemas.release.measured import measured_reports
from recursivemas.release.release_folder import MANIFEST, SBOM
from recursivemas.release.sbom import system_sbom
from recursivemas.release.source_revision import source_revision
from recursivemas.system.atomic import check_replaceable, copy_folder, output_folder
from recursivemas.system.chat_template import end_of_turn, wrap_prompts
from recursivemas.system.errors import InputError
from recursivemas.system.files import sha256_of
from recursivemas.system.generation_config import eos_token, stop_tokens
from recursivemas.system.hub import checkpoint_of
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.manifest import (
    AgentRecord,
    FileRecord,
    Manifest,
    PromptRecord,
    TaskRecord,
    VariantRecord,
    load_manifest,
)
from recursivemas.system.progress import Say, silent
from recursivemas.system.prompt import field_names, parse_template
from recursivemas.system.quantize import find_scheme
from recursivemas.system.questions import QuestionRecord, check_fields, load_questions
from recursivemas.system.system import Agent, System, load_system

_LINKS = "recursivelink.json"
_QUESTIONS = "questions.json"


@dataclass(frozen=True)
class Supplied:
    """What a build takes from elsewhere.

    Attributes:
        agents: Folder with one agent folder per agent id, from `rmas compile`; those of a variant lie in a folder named
            like its quantization. If None, the agents are compiled here.
        measured: Reports about this system from `rmas eval`, or folders of reports. The manifest keeps them, and the
            model card and the page show them.
    """

    agents: Path | None = None
    measured: tuple[Path, ...] = ()


def build_system(
    system_path: Path,
    links_path: Path,
    out: Path,
    options: CompileOptions,
    say: Say = silent,
    supplied: Supplied | None = None,
    variants: Sequence[str] = (),
) -> Manifest:
    """Builds a system's folder.

    Args:
        system_path: The system's YAML.
        links_path: Its `recursivelink.json`.
        out: The system's folder; it must be new, empty or an earlier build, which is replaced.
        options: How to compile the agents.
        say: Called with one line before each step.
        supplied: What was made elsewhere.
        variants: Further quantizations to include, in order of preference; the page takes the first that the GPU runs.

    Returns:
        The manifest that was written.

    Raises:
        InputError: Something is wrong with the system, the checkpoints or the links; `out` is then as it was.
    """
    system, links = load_system(system_path), load_links(links_path)
    links.check_compiles(links_path)
    _check_links(links, links_path, system)
    check_replaceable(out, MANIFEST, "an earlier build", _parts(out).__contains__)
    supplied, names = supplied or Supplied(), _other_schemes(variants, options.quantization)
    stamp = _stamp(system, system_path, links_path, options, supplied, variants)
    _questions(system)
    measured = measured_reports(supplied.measured, system.name, links_path, say)
    agents = built_agents(system, options, say, supplied.agents)
    others = {
        name: built_agents(system, replace(options, quantization=name), say, supplied.agents and supplied.agents / name)
        for name in names
    }
    links.check_fits(
        {agent_id: agent.hidden_size for agent_id, agent in agents.items()},
        {edge.id: (edge.source, edge.target) for edge in system.edges},
    )
    with output_folder(out) as root:
        say(f"Putting {system.name} together")
        manifest = _assemble(system, _provenance(system_path, links, agents, measured), links, agents, root, others)
        stamp_file(out).unlink(missing_ok=True)  # it describes the earlier build
    write_stamp(out, stamp)
    return manifest


def _parts(out: Path) -> set[str]:
    """The files of an earlier build; a manifest that cannot be read says that there are none."""
    if not (out / MANIFEST).is_file():
        return set()
    try:
        return {MANIFEST, *(file.path for file in load_manifest(out / MANIFEST).files)}
    except InputError:
        return {MANIFEST}


def is_current(
    system_path: Path,
    links_path: Path,
    out: Path,
    options: CompileOptions,
    supplied: Supplied | None = None,
    variants: Sequence[str] = (),
) -> bool:
    """Whether `out` was built from these inputs by this version of the program, and all its files are there.

    Only the sizes of files are compared; the page checks their sha256.
    """
    try:
        manifest = load_manifest(out / MANIFEST)
    except InputError:
        return False
    files = ((out / file.path, file.size_bytes) for file in manifest.files)
    if any(not path.is_file() or path.stat().st_size != size for path, size in files):
        return False
    system = load_system(system_path)
    return read_stamp(out) == _stamp(system, system_path, links_path, options, supplied or Supplied(), variants)


def _other_schemes(variants: Sequence[str], own: str) -> list[str]:
    """The checked names, each once."""
    names = list(dict.fromkeys(find_scheme(name).name for name in variants))
    if own in names:
        raise InputError(f"--variant {own}: that is the system's own quantization; choose another")
    return names


def _stamp(
    system: System,
    system_path: Path,
    links_path: Path,
    options: CompileOptions,
    supplied: Supplied,
    variants: Sequence[str],
) -> str:
    checkpoints = [Path(agent.model) for agent in system.agents if Path(agent.model).is_dir()]
    local = [path for agent in system.agents for path in checkpoint_of(agent).local_paths]
    inputs = [system_path, links_path, *local]
    if system.task is not None and system.task.data is not None:
        inputs.append(Path(system.task.data))
    inputs += [*supplied.measured, *([supplied.agents] if supplied.agents else [])]
    backends = {chosen_backend(read_config(folder), options.backend) for folder in checkpoints}
    if len(checkpoints) < len(system.agents):  # only a build downloads configurations or reads GGUF files
        backends |= set(installed_backends()) if options.backend == "auto" else {options.backend}
    return stamp_of(
        [path for path in inputs if path.exists()],
        options=vars(options),
        variants=list(variants),
        compiler=None if supplied.agents else compiler(backends),
        release=sources_digest(recursivemas.release),
    )


def _check_links(links: LinkFile, path: Path, system: System) -> None:
    """Checks the names of the links, and their sizes against the checkpoints on this machine, before compiling."""
    wanted = {"inner": [agent.id for agent in system.agents], "outer": [edge.id for edge in system.edges]}
    for kind, found in (("inner", links.inner), ("outer", links.outer)):
        if missing := next((name for name in wanted[kind] if name not in found), None):
            raise InputError(
                f"{path}: no {kind} link {missing!r}; it has {', '.join(map(repr, found)) or 'none'}, trained for "
                f"{links.system!r}"
            )
    folders = {agent.id: Path(agent.model) for agent in system.agents if Path(agent.model).is_dir()}
    sizes = {agent_id: read_config(folder).get("hidden_size") for agent_id, folder in folders.items()}
    known = {agent_id: size for agent_id, size in sizes.items() if isinstance(size, int)}
    edges = {edge.id: (edge.source, edge.target) for edge in system.edges}
    links.check_fits(known, {name: ends for name, ends in edges.items() if known.keys() >= set(ends)})


def _assemble(
    system: System,
    provenance: dict[str, Any],
    links: LinkFile,
    agents: Mapping[str, BuiltAgent],
    root: Path,
    others: Mapping[str, Mapping[str, BuiltAgent]],
) -> Manifest:
    links.save(root / _LINKS)
    links_name = _name_by_content(root / _LINKS)
    for agent in [*agents.values(), *(each for built in others.values() for each in built.values())]:
        if not (root / agent.path).exists():
            (root / agent.path).parent.mkdir(exist_ok=True)
            copy_folder(agent.compiled.folder, root / agent.path)
    task = _task(system, root)
    (root / SBOM).write_text(system_sbom(system.name, provenance, provenance["versions"]["emscripten"]), "utf-8")
    files = tuple(FileRecord.of(path, root) for path in sorted(root.rglob("*")) if path.is_file())
    features, limits = _requirements(agents.values())
    links_size = next(file.size_bytes for file in files if file.path == links_name)
    manifest = Manifest(
        name=system.name,
        description=system.description,
        pattern=system.pattern,
        rounds=system.rounds,
        latent_steps=system.default_latent_steps,
        decoding=system.decoding,
        early_stopping=system.early_stopping,
        agents=tuple(_agent_record(agent, agents[agent.id], limits) for agent in system.agents),
        variants=tuple(_variant(system, name, built, links_size) for name, built in others.items()),
        edges=system.edges,
        task=task,
        links=links_name,
        required_features=features,
        required_limits=limits,
        memory_bytes=_memory_bytes(agents) + links_size,
        files=files,
        provenance=provenance,
    )
    manifest.save(root / MANIFEST)
    return manifest


def _provenance(
    system_path: Path, links: LinkFile, agents: Mapping[str, BuiltAgent], measured: Mapping[str, Any]
) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("recursivemas", "apache-tvm", "apache-tvm-ffi")}
    linked_by = next(iter(agents.values())).compiled.ours["versions"]["emscripten"]
    return {
        "system_sha256": sha256_of(system_path),
        "checkpoints": {agent_id: agent.provenance for agent_id, agent in agents.items()},
        "links": links.provenance,
        "source_revision": source_revision(),
        "versions": {**versions, "emscripten": linked_by},
        **({"measured": dict(measured)} if measured else {}),
    }


def _name_by_content(path: Path) -> str:
    """Puts the sha256 of a file into its name, so that caches cannot mix builds up; returns the new name."""
    return path.rename(path.with_stem(f"{path.stem}-{sha256_of(path)[:12]}")).name


def _task(system: System, root: Path) -> TaskRecord | None:
    task, name = system.task, None
    if task is None:
        return None
    if task.data is not None:
        questions = [question.model_dump(mode="json", exclude_none=True) for question in _questions(system)]
        (root / _QUESTIONS).write_text(json.dumps(questions, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        name = _name_by_content(root / _QUESTIONS)
    return TaskRecord(
        name=task.name,
        description=task.description,
        scoring=task.scoring,
        questions=name,
    )


def _questions(system: System) -> list[QuestionRecord]:
    """The task's questions with those columns that prompts show or ask about.

    Raises:
        InputError: The file is broken, or a question lacks a column that a prompt needs.
    """
    if system.task is None or system.task.data is None:
        return []
    questions = load_questions(system.task.data)
    check_fields(system, questions)
    templates = [template for agent in system.agents for template in agent.prompts.values()]
    used = {name for template in templates for name in field_names(parse_template(template))}
    return [
        each.model_copy(update={"fields": {name: text for name, text in each.fields.items() if name in used}})
        for each in questions
    ]


def _agent_record(agent: Agent, built: BuiltAgent, limits: Mapping[str, int] | None = None) -> AgentRecord:
    """An agent as the manifest describes it; `limits` are those of the whole system."""
    compiled = built.compiled
    template = compiled.chat_template if agent.chat_template else None
    wraps = wrap_prompts(agent, template)

    prompts = {key: PromptRecord(template=text, **asdict(wraps[key])) for key, text in agent.prompts.items()}
    turn = None if template is None else end_of_turn(template, agent.chat_template_options, compiled.added_tokens)
    own, own_limits = agent.stop == "eos_token", compiled.ours.get("required_limits", {})
    return AgentRecord(
        id=agent.id,
        role=agent.role,
        tools=agent.tools,
        stop_token_ids=(eos_token(agent.id, compiled.own_eos_token) if own else stop_tokens(compiled.end_tokens, turn)),
        latent_steps=agent.latent_steps,
        sampling=compiled.sampling,
        recurrent_state_bytes=compiled.ours.get("recurrent_state_bytes", 0),
        required_limits={} if limits is None or own_limits == limits else own_limits,
        prompt=prompts["prompt"],
        first_round_prompt=prompts.get("first_round_prompt"),
        single_prompt=prompts.get("single_prompt"),
        **built.record,
    )


def _variant(system: System, name: str, agents: Mapping[str, BuiltAgent], links_size: int) -> VariantRecord:
    features, limits = _requirements(agents.values())
    return VariantRecord.model_validate(
        {
            "quantization": name,
            "agents": [_agent_record(agent, agents[agent.id], limits) for agent in system.agents],
            "required_features": features,
            "required_limits": limits,
            "memory_bytes": _memory_bytes(agents) + links_size,
        }
    )


def _memory_bytes(agents: Mapping[str, BuiltAgent]) -> int:
    """GPU memory of the agents; a checkpoint that several of them share counts once."""
    return sum({agent.path: agent.record["memory_bytes"] for agent in agents.values()}.values())


def _requirements(agents: Iterable[BuiltAgent]) -> tuple[tuple[str, ...], dict[str, int]]:
    """WebGPU features and limits that every agent of a system needs together."""
    features: set[str] = set()
    limits: dict[str, int] = {}
    for agent in agents:
        features.update(agent.compiled.ours["required_features"])
        for name, value in agent.compiled.ours["required_limits"].items():
            limits[name] = max(value, limits.get(name, 0))
    return tuple(sorted(features)), limits
