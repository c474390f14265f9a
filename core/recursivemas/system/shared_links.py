"""`shared-links.json`: what a repository of links without agents says about them; and the gallery, a list of links.

Source: docs/sharing-links.md. The record lets a reader decide whether links fit its agents before it downloads them.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recursivemas.system.closed import Closed, added
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer
from recursivemas.system.graph import Edge
from recursivemas.system.manifest import FileRecord, RelativePath
from recursivemas.system.names import (
    FILES,
    MAX_AGENTS,
    MAX_LATENT_STEPS,
    MAX_ROUNDS,
    LinkVariant,
    Mode,
    Pattern,
    Weights,
)
from recursivemas.system.system import Identifier

RECORD = next(role.file for role in FILES if role.name == "shared_links")
LINKS = "recursivelink.json"
"""The link file of such a repository, as the record names it."""
MOST_RECORD_BYTES = 1 << 18

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Words = Annotated[str, Field(min_length=1, max_length=200)]


class SharedAdapter(Closed):
    """A LoRA adapter that is merged into an agent."""

    name: Words
    """Hub id, or the name of a folder."""
    revision: Words | None = added(None)
    """The Hub's commit."""
    sha256: Sha256
    """Over the sha256 of its configuration and of its weights."""


class SharedAgent(Closed):
    """An agent that links fit: the checkpoint that they were trained with."""

    id: Identifier
    """Unique in the system; inner links and edges name it."""
    role: Words
    """What people call the agent."""
    model: Words
    """Hub id, or the name of a checkpoint folder."""
    revision: Words | None = added(None)
    """The Hub's commit."""
    architecture: Words
    """The model's family, such as `qwen3`."""
    hidden_size: int = Field(ge=1)
    """The hidden size D."""
    license: Words | None = added(None)
    """The licence that the checkpoint declares."""
    weights_sha256: Sha256
    """Over the sha256 of each file of weights, in the order of their names, as `system.json` has it."""
    adapter: SharedAdapter | None = added(None)
    """The adapter that is merged into the weights, if there is one."""


class TrainedOn(Closed):
    """How links were trained; the link file has every setting."""

    data: Words
    """Name of the training data: `generator:<task>` or a file's name."""
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    """Rounds of a run in training."""
    latent_steps: int = Field(ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn in training."""
    seed: int
    """Seed of everything random."""
    device: Words
    """Kind of the machine."""
    agents_changed: Annotated[str, Field(min_length=1, max_length=500)] | None = added(None)
    """Why the agents' weights are not those that the links were trained with, in the publisher's words."""


class Measurement(Closed):
    """A row of a report of `rmas eval`: the accuracy in one mode, with its 95 % interval."""

    data: Words
    """Name of the questions."""
    mode: Mode
    """How the questions were answered."""
    control: Words = added("none")
    """What replaced the hand-offs: `none`, `zeros` or `other_question`."""
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    """Rounds of a run."""
    latent_steps: int = Field(ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn."""
    temperature: float | None = added(0.0, ge=0.0)
    """Of sampling: 0 always takes the likeliest token, null is what each agent's checkpoint says."""
    threshold: float | None = added(None)
    """Threshold of early stopping; absent if every question took all rounds."""
    weights: Weights = added("checkpoint")
    """Weights of the agents: those of the checkpoints, or `dequantised`, those that a build stores."""
    questions: int = Field(ge=1)
    """How many questions were asked."""
    accuracy: Share
    """Share of right answers."""
    low: Share
    """Lower end of the 95 % interval."""
    high: Share
    """Upper end of the 95 % interval."""
    decoded_tokens: float = Field(ge=0.0)
    """Decoded tokens an answer, on average."""


class SharedLinks(Closed):
    """A record of shared links."""

    format: Literal["recursivemas.shared-links"] = "recursivemas.shared-links"
    """Says what the file is."""
    version: Literal[1] = 1
    """Version of the format."""
    system: Identifier
    """Name of the system that the links were trained for."""
    description: str = Field(max_length=2000)
    """What the system does, for people."""
    license: Words
    """The licence of the links themselves, as the Hub spells it."""
    pattern: Pattern
    """The pattern, for people; the graph is in `edges`."""
    variant: LinkVariant
    """Form of every link."""
    agents: tuple[SharedAgent, ...] = Field(min_length=1, max_length=MAX_AGENTS)
    """The agents in the order in which they run."""
    edges: tuple[Edge, ...]
    """The hand-offs, with an outer link each."""
    links: FileRecord
    """The link file, beside the record."""
    trained: TrainedOn
    """How the links were trained."""
    measured: tuple[Measurement, ...] = Field(default=(), max_length=200)
    """What was measured with these links; empty if nothing was."""

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        ids = [agent.id for agent in self.agents]
        if twice := next((name for name in ids if ids.count(name) > 1), None):
            raise InputError(f"agents: the id {twice!r} appears twice")
        edges = [edge.id for edge in self.edges]
        if twice := next((name for name in edges if edges.count(name) > 1), None):
            raise InputError(f"edges: the id {twice!r} appears twice")
        for edge in self.edges:
            if unknown := next((end for end in (edge.source, edge.target) if end not in ids), None):
                raise InputError(f"edge {edge.id!r} names the unknown agent {unknown!r}; agents are {', '.join(ids)}")
        return self

    def text(self) -> str:
        """The content of the file."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


class GalleryEntry(Closed):
    """Links of the gallery."""

    system: RelativePath
    """Path of the system's YAML file, relative to the list."""
    links: RelativePath
    """Path of the link file, relative to the list."""
    record: SharedLinks
    """What the two files say, as `rmas links gallery` writes it."""


class Gallery(Closed):
    """The list of the gallery, `systems/gallery.json`."""

    format: Literal["recursivemas.gallery"] = "recursivemas.gallery"
    """Says what the file is."""
    version: Literal[1] = 1
    """Version of the format."""
    entries: tuple[GalleryEntry, ...]
    """The links, in the order in which people see them."""

    @model_validator(mode="after")
    def _check_entries(self) -> Self:
        names = [entry.record.system for entry in self.entries]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"entries: the system {twice!r} appears twice")
        return self


def load_shared_links(path: Path) -> SharedLinks:
    """Reads and checks a `shared-links.json`.

    Raises:
        InputError: The file is missing, is too large, is not JSON, or breaks the schema.
    """
    data = read_json(path, "record; `rmas links publish` writes one", MOST_RECORD_BYTES)
    refuse_newer(data, 1, path, "record of shared links")
    return SharedLinks.parse(data, str(path))


def load_gallery(path: Path) -> Gallery:
    """Reads and checks a gallery's list.

    Raises:
        InputError: The file is missing, is not JSON, or breaks the schema.
    """
    data = read_json(path, "gallery; `rmas links gallery` writes one")
    refuse_newer(data, 1, path, "gallery")
    return Gallery.parse(data, str(path))
