"""Finds the links of the paper's release by its manifests.

An agent's folder has `innerlink_config.json`, which names a file for each task:
`{"tasks": {"math": {"adapter.pt": "adapter(math).pt"}}}`. The folder of a system's outer links has
`outerlink_config.json`, with a list of `{"legacy_key": "outer_12", "filename": …}` under `adapters`, or one such list
for each task under `tasks`. A legacy key names both ends of an edge by a letter or number. Source:
docs/released-systems.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json
from recursivemas.system.folder_check import check_files
from recursivemas.system.hub import resolve_files
from recursivemas.system.system import Agent, System

INNER_MANIFEST = "innerlink_config.json"
OUTER_MANIFEST = "outerlink_config.json"

_FIRST, _LAST = ("e", "r"), ("s", "l", "t")  # expert and reflector; summarizer, learner and tool caller


def inner_file(agent: Agent, downloads: Path | None, task: str | None) -> Path:
    """The file of an agent's inner link.

    Args:
        agent: The agent; its model folder or hub repository holds the file, unless `downloads` does.
        downloads: A folder that may have a subfolder of the agent's id or of its model's name.
        task: Which link, where the release has several.

    Raises:
        InputError: The manifest is broken, has no such task, or names a file that is not there.
    """
    places = [] if downloads is None else [downloads / agent.id, downloads / Path(agent.model).name]
    folder = next((each for each in places if _has_inner_link(each)), None)
    if folder is None:
        folder = resolve_files(agent.model, Path(), (INNER_MANIFEST, "*.pt"))
    check_files(folder)
    manifest = folder / INNER_MANIFEST
    data = read_json(manifest, "manifest of inner links") if manifest.is_file() else {}
    tasks = _object(data, "tasks", manifest)
    if task is not None and task in tasks:
        return _file(folder, _inner_name(tasks[task]), manifest)
    for name in [f"adapter({task}).pt"] * (task is not None) + ["adapter.pt"]:
        if (folder / name).is_file():
            return folder / name
    if tasks:
        return _file(folder, _inner_name(_of_task(tasks, task, manifest)), manifest)
    raise InputError(
        f"agent {agent.id!r}: {folder} has no inner link (neither {INNER_MANIFEST} nor adapter.pt); give the folder of "
        "the released agent, or name the file with --inner"
    )


def _inner_name(entry: Any) -> Any:
    return entry.get("adapter.pt", "adapter.pt") if isinstance(entry, Mapping) else entry


def _has_inner_link(folder: Path) -> bool:
    """Whether a folder holds an inner link under one of the release's names."""
    return (folder / INNER_MANIFEST).is_file() or any(folder.glob("adapter*.pt"))


def outer_files(system: System, folder: Path, task: str | None) -> dict[str, Path]:
    """The file of each edge's outer link.

    Args:
        system: The system.
        folder: The folder with the manifest.
        task: Which links, where the release has several.

    Raises:
        InputError: The manifest is broken, has no such task, lacks an edge, or names a file that is not there.
    """
    check_files(folder)
    manifest = folder / OUTER_MANIFEST
    data = read_json(manifest, "manifest of outer links")
    tasks = _object(data, "tasks", manifest)
    holder = _of_task(tasks, task, manifest) if tasks else data
    entries = holder.get("adapters") if isinstance(holder, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{manifest}: expected a list 'adapters' of the outer links, got {entries!r:.60}")
    ids = [agent.id for agent in system.agents]
    ends = {(edge.source, edge.target): edge.id for edge in system.edges}
    found: dict[str, Path] = {}
    for entry in entries:
        key = entry.get("legacy_key") if isinstance(entry, Mapping) else None
        edge = ends.get(_ends(str(key), ids) or ("", ""))
        if not isinstance(entry, Mapping) or edge is None:
            raise InputError(
                f"{manifest}: {key!r} names no edge of system {system.name!r}, whose edges are "
                f"{', '.join(each.id for each in system.edges)}"
            )
        found[edge] = _file(folder, entry.get("filename"), manifest)
    if missing := [edge.id for edge in system.edges if edge.id not in found]:
        raise InputError(f"{manifest}: has no link for edge {missing[0]!r} of system {system.name!r}")
    return {edge.id: found[edge.id] for edge in system.edges}


def outer_folder(outer: str, base: Path) -> Path:
    """The folder of `released_links.outer`, relative to `base`; a hub id is downloaded.

    Raises:
        InputError: It is neither, or the hub cannot be reached.
    """
    return resolve_files(outer, base, (OUTER_MANIFEST, "*.pt"))


def find_outer_folder(folder: Path) -> Path | None:
    """The folder with the manifest of outer links: the folder itself, or the one below it that has one."""
    for place in (folder, *sorted(each for each in folder.iterdir() if each.is_dir())):
        if (place / OUTER_MANIFEST).is_file():
            return place
    return None


def _ends(key: str, ids: Sequence[str]) -> tuple[str, str] | None:
    """Sender and receiver of a legacy key such as `outer_12`, `outer_3s` or `outer_el`."""
    letters = key.removeprefix("outer_")
    ends = [_end(letter, ids) for letter in letters]
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] and ends[1] else None


def _end(letter: str, ids: Sequence[str]) -> str:
    if letter in _FIRST:
        return ids[0]
    if letter in _LAST:
        return ids[-1]
    number = int(letter) if letter in "123456789" else 0
    return ids[number - 1] if 0 < number <= len(ids) else ""


def _object(data: Any, key: str, manifest: Path) -> Mapping[str, Any]:
    value = data.get(key, {}) if isinstance(data, Mapping) else None
    if not isinstance(value, Mapping):
        raise InputError(
            f"{manifest}: expected a JSON object, with an object under {key!r} where there are several tasks"
        )
    return value


def _of_task(tasks: Mapping[str, Any], task: str | None, manifest: Path) -> Any:
    if task is None and len(tasks) > 1:
        raise InputError(f"{manifest}: has links for {', '.join(sorted(tasks))}; choose with --task")
    if task is not None and task not in tasks:
        raise InputError(f"{manifest}: has no links for task {task!r}; there are {', '.join(sorted(tasks))}")
    return tasks[task] if task is not None else next(iter(tasks.values()))


def _file(folder: Path, name: Any, manifest: Path) -> Path:
    if not isinstance(name, str) or not name or name != Path(name).name:
        raise InputError(f"{manifest}: expected the name of a file beside it, got {name!r}")
    if not (folder / name).is_file():
        raise InputError(f"{manifest}: names {name!r}, which is missing beside it; download the whole repository")
    return folder / name
