"""`systems/index.json` of a site: the systems that the page offers.

Source: docs/formats.md.
"""

from typing import Annotated, Literal

from pydantic import Field

from recursivemas.system.closed import Closed, Matching
from recursivemas.system.manifest import Count


class IndexEntry(Closed):
    """A system beside the page."""

    name: str = Field(min_length=1, max_length=64)
    """Of the system."""
    description: str
    """What the system does, for people."""
    pattern: str
    """For people."""
    path: Annotated[str, Matching(r"^(?!(.*/)?\.\.(/|$))[^/\\:?#][^\\:?#]*$", "a path below the index's folder")]
    """Of its `system.json`, relative to the index."""
    size_bytes: Count
    """Of all its files."""


class SystemsIndex(Closed):
    """The index."""

    format: Literal["recursivemas.systems"] = "recursivemas.systems"
    """Says what the file is."""
    version: Literal[1] = 1
    """Of the format."""
    systems: tuple[IndexEntry, ...]
    """The page opens the first one by default."""
