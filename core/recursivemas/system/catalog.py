"""`systems/index.json` of a site: the systems that the page offers.

Source: docs/formats.md.
"""

from typing import Annotated, Literal

from pydantic import Field

from recursivemas.system.closed import Closed, Matching
from recursivemas.system.manifest import PATH_BELOW, Count


class IndexEntry(Closed):
    """A system beside the page."""

    name: str = Field(min_length=1, max_length=64)
    """Name of the system."""
    description: str
    """What the system does, for people."""
    pattern: str
    """The pattern, for people."""
    path: Annotated[str, Matching(PATH_BELOW, "a path below the index's folder")]
    """Path of its `system.json`, relative to the index."""
    size_bytes: Count
    """Size of all its files together."""


class SystemsIndex(Closed):
    """The index."""

    format: Literal["recursivemas.systems"] = "recursivemas.systems"
    """Says what the file is."""
    version: Literal[1] = 1
    """Version of the format."""
    systems: tuple[IndexEntry, ...]
    """The systems; the page opens the first one by default."""
