"""Lists what a release has to build, for a workflow's matrix: every agent of every system in every quantization."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.hub import CheckpointRef, checkpoint_of
from recursivemas.system.names import Quantization
from recursivemas.system.quantize import find_scheme
from recursivemas.system.system import System, load_system

RELEASED: tuple[Quantization, ...] = ("q4f16_1", "q4f32_1")
"""Quantizations that a release carries by default."""


@dataclass(frozen=True)
class ReleasePlan:
    """Work for two matrices; the second needs the results of the first.

    Attributes:
        agents: One entry per compilation: `system`, `agent`, `quantization`, the fields of a `CheckpointRef`, and
            whether the model is `large`, that is, has to be downloaded.
        systems: One entry per built system: `system`, `links`, `quantization`.
    """

    agents: list[dict[str, Any]]
    systems: list[dict[str, Any]]


def plan_release(folder: Path, names: Sequence[str], quantizations: Sequence[str]) -> ReleasePlan:
    """Plans a release.

    Args:
        folder: Folder with `<name>.yaml` and `links/<name>.recursivelink.json`.
        names: Names of systems; if empty, all systems that have links.
        quantizations: Names of quantizations.

    Raises:
        InputError: A system or quantization is unknown, a system has no links, or there is nothing to build.
    """
    for quantization in quantizations:
        find_scheme(quantization)
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    for name in names:
        if name not in known:
            raise InputError(f"no system {name!r} in {folder}; there are: {', '.join(known) or 'none'}")
        if not links_of(folder, name).is_file():
            raise InputError(f"{links_of(folder, name)}: is missing; train {name}'s links first with `rmas train`")
    chosen = list(names) or [name for name in known if links_of(folder, name).is_file()]
    if not chosen:
        raise InputError(f"{folder}: no system with links in links/<name>.recursivelink.json, so nothing to build")
    plan = ReleasePlan([], [])
    for name in chosen:
        system = load_system(folder / f"{name}.yaml")
        for quantization in quantizations:
            plan.systems.append({"system": name, "links": str(links_of(folder, name)), "quantization": quantization})
            plan.agents.extend(_agents(name, system, quantization))
    return plan


def links_of(folder: Path, name: str) -> Path:
    """The path of a system's trained links."""
    return folder / "links" / f"{name}.recursivelink.json"


def check_tag(tag: str) -> None:
    """Checks that a release's tag is `v` and this program's version.

    Raises:
        InputError: It is another.
    """
    ours = f"v{version('recursivemas')}"
    if tag != ours:
        raise InputError(
            f"tag {tag!r} does not fit the version in pyproject.toml; expected {ours!r}: change one of them"
        )


def _agents(name: str, system: System, quantization: str) -> list[dict[str, Any]]:
    seen: set[CheckpointRef] = set()
    entries = []
    for agent in system.agents:
        checkpoint = checkpoint_of(agent)
        if checkpoint in seen:
            continue  # agents of the same checkpoint share one folder
        seen.add(checkpoint)
        entries.append(
            {
                "system": name,
                "agent": agent.id,
                **{key: _relative(value or "") for key, value in dataclasses.asdict(checkpoint).items()},
                "quantization": quantization,
                "large": not Path(agent.model).is_absolute(),
            }
        )
    return entries


def _relative(name: str) -> str:
    """A path on this machine, relative to the current folder; other names stay as they are."""
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else name
