"""The systems that can be measured: those whose links and agents are in the repository."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recursivemas.system.files import sha256_of
from recursivemas.system.system import System, load_system

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
_LINKS = ".recursivelink.json"
T = TypeVar("T")


@dataclass(frozen=True)
class Shipped:
    """One system.

    Attributes:
        path: Its YAML file.
        links: Its link file.
        system: The contents of the YAML file.
    """

    path: Path
    links: Path
    system: System

    @property
    def links_sha256(self) -> str:
        """Says which links a measurement is about; `rmas build --measured` accepts no other."""
        return sha256_of(self.links)


def spread(every: Sequence[T], count: int) -> Sequence[T]:
    """So many of them, at equal distances; all of them if there are fewer."""
    return every[:: max(1, len(every) // count)][:count]


def shipped(names: Sequence[str] = ()) -> Iterator[Shipped]:
    """Systems with questions of their own, in the order of their names: all of them, or those named."""
    for links in sorted((ROOT / "systems/links").glob(f"*{_LINKS}")):
        path = ROOT / "systems" / f"{links.name.removesuffix(_LINKS)}.yaml"
        system = load_system(path)
        has_task = system.task is not None and system.task.data is not None
        if has_task and (not names or system.name in names) and all(Path(a.model).is_dir() for a in system.agents):
            yield Shipped(path, links, system)
