"""`dist/<system>/system.json`: everything the page needs to run a built system.

Source: DESIGN, formats. The browser's twin is web/src/engine/system.ts. Paths are relative to the manifest, with
forward slashes; sizes are bytes; every other file of the folder is listed with its sha256.
"""

import hashlib
import json
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from recursivemas.system.closed import Closed
from recursivemas.system.errors import InputError
from recursivemas.system.files import read_json, refuse_newer, write_text_atomic
from recursivemas.system.graph import Edge
from recursivemas.system.settings import Decoding
from recursivemas.system.system import Identifier, Pattern, Quantization

_BLOCK_BYTES = 1 << 20


def _check_relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts:
        raise InputError(f"expected a path below the manifest's folder, got {path!r}")
    return path


RelativePath = Annotated[str, AfterValidator(_check_relative)]


class FileRecord(Closed):
    """One file: path, size in bytes, sha256 in lower-case hex."""

    path: RelativePath
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, file: Path, root: Path) -> "FileRecord":
        """Measures and hashes a file below `root`."""
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
        return cls(path=file.relative_to(root).as_posix(), size_bytes=file.stat().st_size, sha256=digest.hexdigest())


class PromptRecord(Closed):
    """A prompt as the engine needs it: the template between the text that the chat template puts around it.

    Attributes:
        template: With `{question}` and `{latent:<edge id>}` slots.
        prefix: Chat template's text before the user message; empty without one.
        suffix: Chat template's text after it, with the generation prompt; empty without one.
    """

    template: str
    prefix: str = ""
    suffix: str = ""


class AgentRecord(Closed):
    """One agent's files and dimensions.

    Attributes:
        path: Folder in MLC's layout, ending in `/`.
        model_lib: The `.wasm`, relative to the system's root.
        memory_bytes: GPU memory for weights, KV cache and temporaries, estimated.
        stop_token_ids: Any of them ends an answer.
    """

    id: Identifier
    role: str
    model: str
    architecture: str
    path: RelativePath
    model_lib: RelativePath
    quantization: Quantization
    dtype: Literal["float32", "float16"]
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    context_window_size: int = Field(ge=1)
    prefill_chunk_size: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)
    stop_token_ids: tuple[int, ...]
    prompt: PromptRecord
    first_round_prompt: PromptRecord | None = None
    tools: tuple[str, ...] = ()


class TaskRecord(Closed):
    """What to ask; `questions` is a JSON file: a list of `{"question", "answer", "choices"?}`."""

    name: str
    description: str = ""
    scoring: Literal["exact", "numeric", "choice"] = "exact"
    questions: RelativePath | None = None


class VariantRecord(Closed):
    """The same agents with weights of another kind, for visitors whose GPU can run it.

    Attributes:
        agents: As the manifest's own, in the same order; files, dtype and memory differ.
        required_features: As the manifest's own.
        required_limits: As the manifest's own.
        memory_bytes: As the manifest's own.
    """

    quantization: Quantization
    agents: tuple[AgentRecord, ...] = Field(min_length=1)
    required_features: tuple[str, ...] = ()
    required_limits: dict[str, int] = Field(default_factory=dict)
    memory_bytes: int = Field(ge=0)


class Manifest(Closed):
    """The whole manifest.

    Attributes:
        variants: In order of preference: a page takes the first that its GPU can run, else the manifest's own agents.
        links: Path of the system's `recursivelink.json`.
        required_features: WebGPU features every agent needs, e.g. `shader-f16`.
        required_limits: WebGPU limits by name.
        memory_bytes: Sum over agents and links.
        files: Every file of the folder but the manifest itself.
        provenance: Versions, source revisions, sha256 of the system file and of the agents' weights.
    """

    format: Literal["recursivemas.system"] = "recursivemas.system"
    version: Literal[1] = 1
    name: Identifier
    description: str = ""
    pattern: Pattern
    rounds: int = Field(ge=1)
    latent_steps: int = Field(ge=1)
    decoding: Decoding
    agents: tuple[AgentRecord, ...] = Field(min_length=1)
    variants: tuple[VariantRecord, ...] = ()
    edges: tuple[Edge, ...]
    task: TaskRecord | None = None
    links: RelativePath
    required_features: tuple[str, ...] = ()
    required_limits: dict[str, int] = Field(default_factory=dict)
    memory_bytes: int = Field(ge=0)
    files: tuple[FileRecord, ...]
    provenance: dict[str, Any] = Field(default_factory=dict)

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
        InputError: When the file is missing, is not JSON, or breaks the schema.
    """
    data = read_json(path, "manifest; `rmas build` writes one")
    refuse_newer(data, 1, path, "manifest")
    return Manifest.parse(data, str(path))
