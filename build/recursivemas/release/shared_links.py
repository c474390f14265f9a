"""Links without agents, as people share them: the link file, a record of what it fits, and a card.

Source: docs/sharing-links.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recursivemas.compiler.checkpoint import read_config
from recursivemas.compiler.licence import declared_licence
from recursivemas.release.measured import measured_reports
from recursivemas.system.errors import InputError
from recursivemas.system.hub import ResolvedModel, checkpoint_of
from recursivemas.system.links_file import LinkFile, load_links
from recursivemas.system.manifest import FileRecord
from recursivemas.system.progress import Say, silent
from recursivemas.system.shared_links import (
    LINKS,
    MOST_RECORD_BYTES,
    Measurement,
    SharedAdapter,
    SharedAgent,
    SharedLinks,
    TrainedOn,
)
from recursivemas.system.system import Agent, System, load_system

_NEEDED = ("data", "rounds", "latent_steps", "seed", "device", "training", "agents_sha256", "versions")
"""What `rmas train` writes into the provenance of links."""


@dataclass(frozen=True)
class Share:
    """Links that are ready to be shared.

    Attributes:
        system: The system that they were trained for.
        links: The checked link file.
        content: The file's bytes.
        record: What its repository says about it.
    """

    system: System
    links: LinkFile
    content: bytes
    record: SharedLinks


def share_links(
    links_path: Path,
    system_path: Path,
    licence: str,
    measured: Sequence[Path] = (),
    say: Say = silent,
    *,
    agents_changed: str | None = None,
) -> Share:
    """Checks links and writes down what they fit, how they were trained and what was measured.

    Args:
        links_path: A `recursivelink.json` from `rmas train`.
        system_path: The YAML file of the system that they were trained for.
        licence: The licence of the links, as the Hub spells it.
        measured: Reports of `rmas eval` with these links, or folders of reports.
        say: Called with one line before each step that may take long.
        agents_changed: Why the agents' weights are not those that the links were trained with, if they are not.

    Raises:
        InputError: The links lack provenance or do not fit the system, or a report is about other links.
    """
    system, links = load_system(system_path), load_links(links_path)
    content = links_path.read_bytes()
    links.check_compiles(links_path)
    trained = _trained(links, links_path, agents_changed)
    _check_names(links, links_path, system)
    agents = _agents(system, say)
    sizes = {agent.id: agent.hidden_size for agent in agents}
    links.check_fits(sizes, {edge.id: (edge.source, edge.target) for edge in system.edges})
    reports = measured_reports(measured, system.name, links_path, say)
    link_file = FileRecord(path=LINKS, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    record = SharedLinks(
        system=system.name,
        description=system.description,
        license=licence,
        pattern=system.pattern,
        variant=links.variant,
        agents=agents,
        edges=system.edges,
        links=link_file,
        trained=trained,
        measured=_measurements(reports),
    )
    if len(record.text().encode()) > MOST_RECORD_BYTES:
        raise InputError(f"{links_path}: its record has more than {MOST_RECORD_BYTES >> 10} KiB; give fewer --measured")
    return Share(system, links, content, record)


def _trained(links: LinkFile, path: Path, agents_changed: str | None) -> TrainedOn:
    provenance = links.provenance
    if missing := next((key for key in _NEEDED if not provenance.get(key) and provenance.get(key) != 0), None):
        raise InputError(
            f"{path}: its provenance does not say {missing!r}, so nobody could tell what the links are; "
            "share a recursivelink.json as `rmas train` writes it"
        )
    known = {key: provenance[key] for key in ("data", "rounds", "latent_steps", "seed", "device")}
    return TrainedOn.parse({**known, "agents_changed": agents_changed}, f"{path}: provenance")


def _check_names(links: LinkFile, path: Path, system: System) -> None:
    """The links are those of the system: neither fewer nor more."""
    if links.system != system.name:
        raise InputError(
            f"{path}: was trained for the system {links.system!r}, not for {system.name!r}; give that system's file"
        )
    wanted = {"inner": [agent.id for agent in system.agents], "outer": [edge.id for edge in system.edges]}
    for kind, found in (("inner", links.inner), ("outer", links.outer)):
        if set(found) != set(wanted[kind]):
            raise InputError(
                f"{path}: its {kind} links are {', '.join(found) or 'none'}, but those of {system.name} are "
                f"{', '.join(wanted[kind]) or 'none'}; give the file of the system that they were trained for"
            )
    named = links.provenance["agents_sha256"]
    ids = [agent.id for agent in system.agents]
    if not isinstance(named, Mapping) or set(named) != set(ids):
        raise InputError(f"{path}: provenance.agents_sha256 must name the agents {', '.join(ids)}; train again")


def _agents(system: System, say: Say) -> tuple[SharedAgent, ...]:
    resolved: dict[Any, SharedAgent] = {}
    agents = []
    for agent in system.agents:
        checkpoint = checkpoint_of(agent)
        if checkpoint not in resolved:
            say(f"Reading the checkpoint of {agent.id}")
            resolved[checkpoint] = _agent(agent, checkpoint.resolve(say))
        agents.append(resolved[checkpoint].model_copy(update={"id": agent.id, "role": agent.role}))
    return tuple(agents)


def _agent(agent: Agent, model: ResolvedModel) -> SharedAgent:
    whole = read_config(model.folder)
    inner = whole.get("text_config")
    config = inner if isinstance(inner, dict) else whole
    adapter = None
    if model.adapter is not None:
        of = model.adapter
        adapter = SharedAdapter(name=of.source, revision=of.revision, sha256=of.sha256)
    data = {
        "id": agent.id,
        "role": agent.role,
        "model": model.source or model.name,
        "revision": model.revision,
        "architecture": config.get("model_type"),
        "hidden_size": config.get("hidden_size"),
        "license": declared_licence(model),
        "weights_sha256": model.weights_sha256(),
        "adapter": adapter,
    }
    return SharedAgent.parse(data, f"{model.folder}/config.json")


def _measurements(reports: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The rows of all reports of `rmas eval`; other reports have no rows."""
    rows = []
    for name, report in reports.items():
        of = {"data": report.get("data"), "weights": report.get("weights", "checkpoint")}
        for cell in report.get("cells", ()):
            known = {key: cell[key] for key in Measurement.model_fields if isinstance(cell, dict) and key in cell}
            rows.append(Measurement.parse({**of, **known}, f"the report {name}"))
    return tuple(rows)
