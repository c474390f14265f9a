"""`dist/<system>/system.json`: everything the page needs to run a built system.

Source: docs/formats.md. Paths are relative to the manifest, with forward slashes; sizes are bytes; the manifest lists
every other file of the folder with its sha256.
"""

import json
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recursivemas.system.closed import Closed, Matching, added
from recursivemas.system.early_stopping import EarlyStopping
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer, sha256_of, write_text_atomic
from recursivemas.system.graph import Edge
from recursivemas.system.names import MAX_AGENTS, MAX_LATENT_STEPS, MAX_ROUNDS, Dtype, Pattern, Quantization, Scoring
from recursivemas.system.prompt import Trim
from recursivemas.system.settings import Decoding
from recursivemas.system.system import Identifier

PATH_BELOW = (
    r"^(?!/)(?!\s)(?!(.*/)?\.\.(/|$))(?![A-Za-z][A-Za-z0-9+.-]*:)"
    r"[^\\%?#\x00-\x1f\x7f]*[^\\%?#\s\x00-\x1f\x7f](?![\s\S])"
)
"""A relative path that no URL parser takes for another: it would strip white space, decode `%2e`, end at `?` or `#`."""
RelativePath = Annotated[str, Matching(PATH_BELOW, "a path below the manifest's folder")]
Count = Annotated[int, Field(ge=0)]


class FileRecord(Closed):
    """A file of the system's folder."""

    path: RelativePath
    """Path relative to the manifest."""
    size_bytes: Count
    """Size of the file."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its sha256, in lower-case hexadecimal."""

    @classmethod
    def of(cls, file: Path, root: Path) -> "FileRecord":
        """Measures and hashes a file below `root`."""
        return cls(path=file.relative_to(root).as_posix(), size_bytes=file.stat().st_size, sha256=sha256_of(file))


class PromptRecord(Closed):
    """A prompt as the engine needs it: the template between the text that the chat template puts around it."""

    template: str
    """The prompt with its `{question}`, `{field}` and `{latent:<edge id>}` slots and its conditional text."""
    prefix: str = ""
    """The chat template's text before the user message, with the agent's system message; empty without a template."""
    suffix: str = ""
    """The chat template's text after it, with the generation prompt; empty without one."""
    trim: Trim = added(False)
    """Whether the chat template takes the white space from the ends of the message, or from its end alone."""


class Sampling(Closed):
    """How transformers' `generate` picks tokens with a checkpoint if nobody tells it otherwise."""

    temperature: float = Field(default=0.0, ge=0.0)
    """0 always takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Total probability of the likeliest tokens that it samples from."""
    top_k: int = Field(default=50, ge=0)
    """How many of the likeliest tokens it samples from; 0 for all."""
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    """What divides a positive logit of a token that was written before, and multiplies a negative one."""


SubgroupSize = Literal[4, 8, 16, 32, 64, 128]
"""Sizes that subgroups may have. Source: https://www.w3.org/TR/webgpu/#gpuadapterinfo"""


class SubgroupLibrary(Closed):
    """A second library of the same weights, whose kernels use WebGPU's feature `subgroups`."""

    model_lib: RelativePath
    """Path of the library, a `.wasm`."""
    subgroup_size: SubgroupSize
    """The least that the GPU's smallest subgroup must have, in threads."""


class AgentRecord(Closed):
    """An agent's files and dimensions."""

    id: Identifier
    """Unique in the system."""
    role: str
    """What people call the agent."""
    model: str
    """Hub id, or the name of a checkpoint folder."""
    architecture: str
    """The model's family, such as `qwen3`."""
    path: RelativePath
    """Its folder in MLC's layout, ending in `/`."""
    model_lib: RelativePath
    """Path of the compiled library, a `.wasm`."""
    quantization: Quantization
    """How its weights are stored."""
    dtype: Dtype
    """The dtype in which it computes."""
    hidden_size: int = Field(ge=1)
    """The hidden size D."""
    num_hidden_layers: int = Field(ge=1)
    """Number of decoder layers."""
    vocab_size: int = Field(ge=1)
    """The size V of its vocabulary."""
    context_window_size: int = Field(ge=1)
    """The most positions that its KV cache holds."""
    prefill_chunk_size: int = Field(ge=1)
    """The most positions that one call to prefill takes."""
    memory_bytes: Count
    """GPU memory for weights, a KV cache of the whole context window, and temporaries, estimated."""
    stop_token_ids: tuple[Count, ...]
    """Each of these tokens ends an answer."""
    prompt: PromptRecord
    """The prompt of every round, except the first if that has its own."""
    first_round_prompt: PromptRecord | None = None
    """The prompt of the first round."""
    single_prompt: PromptRecord | None = added(None)
    """The prompt for when the agent is asked alone, in single and loop mode."""
    tools: tuple[str, ...] = ()
    """Tools that the agent may call while it decodes."""
    latent_steps: int | None = added(None, ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of its turns, if it has a number of its own."""
    sampling: Sampling = added(Sampling())
    """How its checkpoint says that tokens are picked; settings of `decoding` that are null take it from here."""
    recurrent_state_bytes: Count = added(0)
    """The part of `memory_bytes` that recurrent states take."""
    required_limits: dict[str, Count] = added({})
    """WebGPU limits that this agent needs, where they are below those of the system."""
    subgroup_lib: SubgroupLibrary | None = added(None)
    """A library that a page takes instead of `model_lib` where the GPU has the subgroups that it needs."""


class TaskRecord(Closed):
    """What to ask, and how an answer is judged."""

    name: str
    """Name of the task, for people."""
    description: str = ""
    """How to read a question."""
    scoring: Scoring = "exact"
    """How an answer is compared with the right one."""
    questions: RelativePath | None = None
    """Path of the file of questions."""


class VariantRecord(Closed):
    """The same agents with weights of another kind, for visitors whose GPU can run it."""

    quantization: Quantization
    """How the weights of its agents are stored."""
    agents: tuple[AgentRecord, ...] = Field(min_length=1, max_length=MAX_AGENTS)
    """The manifest's agents in the same order; files, dtype and memory differ."""
    required_features: tuple[str, ...] = ()
    """WebGPU features that these agents need."""
    required_limits: dict[str, Count] = Field(default={})
    """WebGPU limits that these agents need."""
    memory_bytes: Count
    """GPU memory of these agents and the links, estimated."""


class Manifest(Closed):
    """A built system."""

    format: Literal["recursivemas.system"] = "recursivemas.system"
    """Says what the file is."""
    version: Literal[1] = 1
    """Version of the format."""
    name: Identifier
    """Name of the system."""
    description: str = ""
    """What the system does, for people."""
    pattern: Pattern
    """The pattern, for people; the graph is in `edges`."""
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    """Rounds of a run by default."""
    latent_steps: int = Field(ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn by default."""
    decoding: Decoding
    """How an answer is decoded by default."""
    early_stopping: EarlyStopping | None = added(None)
    """The threshold of runs that stop early, if the system has one. A run stops early only if it asks for it."""
    agents: tuple[AgentRecord, ...] = Field(min_length=1, max_length=MAX_AGENTS)
    """The agents in the order in which they run; the last one decides."""
    variants: tuple[VariantRecord, ...] = ()
    """Other builds of the agents, in order of preference. A page takes the first that its GPU can run,
    else the manifest's own agents."""
    edges: tuple[Edge, ...]
    """The hand-offs."""
    task: TaskRecord | None = None
    """What the system is for."""
    links: RelativePath
    """Path of the system's link file."""
    required_features: tuple[str, ...] = ()
    """WebGPU features that every agent needs, such as `shader-f16`."""
    required_limits: dict[str, Count] = Field(default={})
    """WebGPU limits by name: the least that the device must offer."""
    memory_bytes: Count
    """GPU memory of agents and links, estimated."""
    files: tuple[FileRecord, ...]
    """Every file of the folder but the manifest itself."""
    provenance: dict[str, Any] = Field(default={})
    """What the system was built from: versions, source revisions, sha256 of the system file and of weights."""

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        for variant in self.variants:
            for own, other in zip_longest(self.agents, variant.agents):
                same = own and other and (own.id, own.hidden_size) == (other.id, other.hidden_size)
                if not same:
                    raise InputError(f"variants: {variant.quantization} has other agents than the system")
        return self

    def save(self, path: Path) -> None:
        """Writes the manifest atomically; what has no variants can be read by programs that know none."""
        content = self.model_dump(mode="json", by_alias=True)
        if not self.variants:
            del content["variants"]
        write_text_atomic(path, json.dumps(content, indent=1) + "\n")


def load_manifest(path: Path) -> Manifest:
    """Reads and checks a `system.json`.

    Raises:
        InputError: The file is missing, is not JSON, or breaks the schema.
    """
    data = read_json(path, "manifest; `rmas build` writes one")
    refuse_newer(data, 1, path, "manifest")
    return Manifest.parse(data, str(path))
