"""The systems that can be measured here: those whose links and agents are in the repository."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recursivemas.system.system import System, load_system

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
_LINKS = ".recursivelink.json"


@dataclass(frozen=True)
class Shipped:
    """One system.

    Attributes:
        path: Its YAML file.
        links: Its link file.
        system: What the YAML file says.
    """

    path: Path
    links: Path
    system: System

    @property
    def links_sha256(self) -> str:
        """Which links a measurement is about; `rmas build --measured` takes no other."""
        return hashlib.sha256(self.links.read_bytes()).hexdigest()


def shipped(names: Sequence[str] = ()) -> Iterator[Shipped]:
    """Systems with a task of their own, in the order of their names; all, or those named."""
    for links in sorted((ROOT / "systems/links").glob(f"*{_LINKS}")):
        path = ROOT / "systems" / f"{links.name.removesuffix(_LINKS)}.yaml"
        system = load_system(path)
        has_task = system.task is not None and system.task.data is not None
        if has_task and (not names or system.name in names) and all(Path(a.model).is_dir() for a in system.agents):
            yield Shipped(path, links, system)
